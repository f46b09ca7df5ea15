"""Data sets are split three ways, shown alike every time, and refused with a reason."""

from __future__ import annotations

import gzip
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from supernet import data, image_folder as folders
from supernet.augmentation import augment
from supernet.data import ImageDataset
from supernet.errors import DataError
from supernet.options import DataOptions
from supernet.preprocessing import ImagePreprocessing
from supernet.seeds import generator
from supernet.sources import load_data


def load(options: DataOptions) -> ImageDataset:
    found = load_data(options)
    assert isinstance(found, ImageDataset)
    return found


def image_folder(root: Path, splits: dict[str, dict[str, int]], mode: str = "RGB", size: int = 12) -> Path:
    """An image folder with so many random PNG files per split and class."""
    random = np.random.default_rng(0)
    for split, classes in splits.items():
        for name, count in classes.items():
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                shape = (size, size + 4) if mode == "L" else (size, size + 4, 3)
                pixels = random.integers(0, 256, shape, dtype=np.uint8)
                Image.fromarray(pixels, mode).save(root / split / name / f"{i}.png")
    return root


def test_the_three_splits_share_no_image_and_each_holds_every_class() -> None:
    digits = load(DataOptions(resolution=8))
    parts = [digits.train, digits.search, digits.test]
    assert sum(map(len, parts)) == 1797
    assert all(len(part.labels.unique()) == 10 for part in parts)
    marked = data.Split(torch.arange(40)[:, None, None, None], torch.arange(40) % 4)
    stay, leave = data.split_off(marked, 0.25, 0, "test", ("a", "b", "c", "d"))
    assert sorted([*stay.images.flatten().tolist(), *leave.images.flatten().tolist()]) == list(range(40))
    assert leave.labels.bincount().tolist() == [3, 3, 3, 3] or leave.labels.bincount().tolist() == [
        2,
        2,
        2,
        2,
    ]


def test_the_split_follows_its_seed_and_nothing_else() -> None:
    first, again, other = (load(DataOptions(resolution=8, split_seed=seed)).test for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images[: len(other)], other.images)


def test_training_images_are_shown_with_mean_zero_and_deviation_one() -> None:
    digits = load(DataOptions(resolution=16, channels=3))
    x = digits.normalise(digits.train.images)
    assert x.shape[1:] == (3, 16, 16)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(3), atol=1e-4, rtol=0)


def test_a_batch_is_the_same_whenever_it_is_asked_for() -> None:
    digits = load(DataOptions(resolution=8))
    late = digits.batch(40, 64, seed=0)
    digits.batch(3, 64, seed=0)
    again = digits.batch(40, 64, seed=0)
    assert torch.equal(late[0], again[0]) and torch.equal(late[1], again[1])
    assert not torch.equal(late[0], digits.batch(40, 64, seed=1)[0])


def as_bytes(dataset: ImageDataset, images: torch.Tensor) -> torch.Tensor:
    """What was normalised, as the file had it."""
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (dataset.shown_as.mean, dataset.shown_as.std))
    return ((images * std + mean) * 255).round().byte()


def seen(dataset: ImageDataset, *batches: tuple[torch.Tensor, torch.Tensor]) -> Counter[tuple[bytes, int]]:
    """Bytes and label of every image of some batches, as the file had them."""
    return Counter(
        (image.numpy().tobytes(), label)
        for images, labels in batches
        for image, label in zip(as_bytes(dataset, images), labels.tolist(), strict=True)
    )


def published_digits() -> Counter[tuple[bytes, int]]:
    """The digits as scikit-learn brings them, from 0 to 16."""
    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return Counter((image.tobytes(), int(label)) for image, label in zip(images, bunch.target))


def test_every_digit_is_shown_once_and_with_its_own_label() -> None:
    digits = load(DataOptions(resolution=8))
    shown = seen(digits, *(batch for split in data.SPLITS for batch in digits.batches(split, 100)))
    assert shown == published_digits()
    assert seen(digits, *digits.calibration_batches(1000)) <= published_digits()


def test_an_epoch_shows_every_image_at_most_once_and_the_next_in_another_order() -> None:
    digits = load(DataOptions(resolution=8, shift=0.0))
    steps = digits.epoch_steps(64)
    first, second = ([digits.batch(step + e * steps, 64, seed=0) for step in range(steps)] for e in (0, 1))
    for epoch in (first, second):
        shown = seen(digits, *epoch)
        assert sum(shown.values()) == steps * 64 <= len(digits.train)
        assert shown <= seen(digits, *digits.batches("train", 100))
    assert seen(digits, first[0]) != seen(digits, second[0])


def test_splits_hold_their_shares_of_every_class() -> None:
    digits = load(DataOptions(resolution=8, test_share=0.2, search_share=0.1))
    whole = np.bincount(load_digits().target)
    assert (abs(digits.test.labels.bincount().numpy() - 0.2 * whole) <= 0.5).all()
    # of what is left, an eighth is a tenth of the whole
    assert (abs(digits.search.labels.bincount().numpy() - 0.1 * whole) <= 1).all()


@pytest.mark.parametrize("memory", [folders.MEMORY_BYTES, 0])
def test_the_images_of_a_folder_keep_their_class_and_their_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(folders, "MEMORY_BYTES", memory)
    for grey in range(60):
        place = tmp_path / "train" / "abc"[grey % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), grey, dtype=np.uint8)).save(place / f"{grey}.png")
    found = load(DataOptions(source=f"folder:{tmp_path}"))
    greys: list[int] = []
    for split in data.SPLITS:
        for images, labels in found.batches(split, 7):
            shown = as_bytes(found, images)[:, 0, 0, 0].int()
            assert (shown % 3 == labels).all()
            greys += shown.tolist()
    assert sorted(greys) == list(range(60))


def test_part_of_a_sorted_split_mixes_its_classes(tmp_path: Path) -> None:
    root = image_folder(tmp_path, {"train": {"a": 60, "b": 60, "c": 60}})
    found = load(DataOptions(source=f"folder:{root}", resolution=8))
    (batch,) = found.batches("train", 100, most=60)
    assert batch[1].bincount(minlength=3).min() >= 10


def test_calibration_batches_mix_the_classes_of_a_sorted_data_set(tmp_path: Path) -> None:
    root = image_folder(tmp_path, {"train": {"a": 40, "b": 40, "c": 40}})
    sorted_by_class = load(DataOptions(source=f"folder:{root}", resolution=8))
    assert sorted_by_class.train.labels.diff().min() >= 0
    share = [
        (batch[:, None] == sorted_by_class.normalise(sorted_by_class.train.images)[None]).flatten(2).all(2)
        for batch, _ in sorted_by_class.calibration_batches(48, batch_size=24)
    ]
    assert len(share) == 2
    for match in share:
        labels = sorted_by_class.train.labels[match.int().argmax(1)]
        assert labels.bincount(minlength=3).min() >= 3


def test_augmentation_moves_and_mirrors_within_its_bounds() -> None:
    images = torch.zeros(64, 1, 9, 9, dtype=torch.uint8)
    images[:, :, 4, 5] = 255
    moved = augment(images, 2, True, generator(0))
    places = moved.flatten(1).float().argmax(1)
    rows, columns = places // 9, places % 9
    assert rows.min() == 2 and rows.max() == 6 and columns.min() == 1 and columns.max() == 7
    assert torch.equal(augment(images, 0, False, generator(0)), images)
    assert torch.equal(augment(images, 2, True, generator(1)), augment(images, 2, True, generator(1)))


def test_an_image_that_moves_repeats_its_edge() -> None:
    ramp = torch.arange(5, dtype=torch.uint8).expand(32, 1, 5, 5).contiguous()
    for row in augment(ramp, 2, False, generator(0))[:, 0, 0].tolist():
        shift = row[2] - 2
        assert row == [min(max(column + shift, 0), 4) for column in range(5)]


@pytest.mark.parametrize("flip", [False, True])
def test_the_channels_of_an_image_move_together(flip: bool) -> None:
    images = torch.randint(0, 256, (8, 3, 5, 7), dtype=torch.uint8, generator=generator(3))
    moved = augment(images, 2, flip, generator(0))
    for channel in range(3):
        alone = augment(images[:, [channel]], 2, flip, generator(0))
        assert torch.equal(moved[:, [channel]], alone)


def test_images_are_normalised_apart_from_those_that_were_given() -> None:
    shown = replace(ImagePreprocessing.plain(4, 1), value_range=(-1.0, 1.0), mean=(0.25,), std=(0.5,))
    images = torch.full((1, 1, 4, 4), 255.0)
    assert torch.equal(shown.normalise(images), torch.full((1, 1, 4, 4), 1.5))
    assert torch.equal(images, torch.full((1, 1, 4, 4), 255.0))


def test_images_move_apart_from_each_other_and_anew_at_every_step() -> None:
    dot = torch.zeros(32, 1, 9, 9, dtype=torch.uint8)
    dot[:, :, 4, 4] = 255
    split = data.Split(dot, torch.zeros(32, dtype=torch.long))
    shown_as = ImagePreprocessing.plain(9, 1)
    alike = ImageDataset("dots", ("dot",), split, split, split, shown_as, shift=2, flip=False)

    def places(step: int, seed: int) -> list[int]:
        return alike.batch(step, 32, seed)[0].flatten(1).argmax(1).tolist()

    assert len(set(places(0, 0))) > 10
    assert len({tuple(places(step, seed)) for step in range(3) for seed in range(2)}) == 6


@pytest.mark.parametrize(("width", "height"), [(12, 8), (8, 12)])
def test_an_image_that_is_no_square_keeps_its_centre(tmp_path: Path, width: int, height: int) -> None:
    pixels = np.arange(width * height, dtype=np.uint8).reshape(height, width)
    Image.fromarray(pixels).save(tmp_path / "long.png")
    top, left = (height - 8) // 2, (width - 8) // 2
    decoded = ImagePreprocessing.plain(8, 1).decode(tmp_path / "long.png")
    np.testing.assert_array_equal(decoded[0], pixels[top : top + 8, left : left + 8])


def test_a_folder_brings_its_own_splits(tmp_path: Path) -> None:
    root = image_folder(
        tmp_path, {"train": {"cat": 8, "dog": 6}, "val": {"cat": 2, "dog": 3}, "test": {"dog": 4}}
    )
    found = load(DataOptions(source=f"folder:{root}"))
    assert found.classes == ("cat", "dog") and found.flip
    assert [len(found.split(name)) for name in ("train", "search", "test")] == [14, 5, 4]
    assert found.test.labels.tolist() == [1] * 4
    assert found.train.images.shape == (14, 3, 12, 12)


def test_a_grey_folder_stays_grey_unless_asked(tmp_path: Path) -> None:
    root = image_folder(tmp_path, {"train": {"a": 8, "b": 8}}, mode="L")
    assert load(DataOptions(source=f"folder:{root}")).channels == 1
    assert load(DataOptions(source=f"folder:{root}", channels=3, resolution=20)).train.images.shape[1:] == (
        3,
        20,
        20,
    )


def test_a_folder_too_large_for_memory_gives_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder(tmp_path, {"train": {"a": 12, "b": 12}})
    options = DataOptions(source=f"folder:{root}")
    small = load(options)
    monkeypatch.setattr(folders, "MEMORY_BYTES", 0)
    large = load(options)
    assert not isinstance(large.train.images, torch.Tensor)
    assert large.shown_as == small.shown_as
    for ours, theirs in zip(small.batch(2, 5, seed=0), large.batch(2, 5, seed=0)):
        assert torch.equal(ours, theirs)
    assert torch.equal(next(small.batches("test", 3))[0], next(large.batches("test", 3))[0])


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    ramp = (np.arange(64, dtype=np.uint16) * 1023).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    decoded = ImagePreprocessing.plain(8, 1).decode(tmp_path / "ramp.png")
    assert decoded.min() == 0 and decoded.max() > 245 and len(np.unique(decoded)) > 60


def fashion_mnist(root: Path) -> Path:
    """The folder itself, after 60 training and 20 test images of noise were put there as torchvision has them."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        pixels = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        header = b"".join(n.to_bytes(4, "big") for n in (0x803, count, 28, 28))
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        header = b"".join(n.to_bytes(4, "big") for n in (0x801, count))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
        with gzip.open(raw / f"{part}-images-idx3-ubyte.gz", "wb") as packed:
            packed.write(b"")
    return root


def test_fashion_mnist_is_read_from_its_idx_files(tmp_path: Path) -> None:
    fashion_mnist(tmp_path)
    found = load(DataOptions(source=f"torchvision:FashionMNIST@{tmp_path}", resolution=32))
    assert (len(found.train), len(found.search), len(found.test)) == (50, 10, 20)
    assert found.train.images.shape[1:] == (1, 32, 32) and found.classes[0] == "T-shirt/top" and found.flip


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digit", r"no data source is called 'digit'; did you mean 'digits'.*folder:PATH"),
        ("digits:8", r"digits takes nothing behind it, but '8'"),
        ("folder:", r"there is no folder ''"),
        ("folder:/nowhere/at/all", r"there is no folder '/nowhere/at/all'"),
        ("torchvision:FashionMNST@x", r"no data set 'FashionMNST'.*did you mean 'FashionMNIST'"),
        ("torchvision:FashionMNIST", r"write torchvision:FashionMNIST@ROOT"),
        (
            "torchvision:FashionMNIST@/nowhere",
            r"cannot read FashionMNIST in /nowhere/FashionMNIST/raw: .*unpacked",
        ),
    ],
)
def test_a_source_that_is_not_there_is_named(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(DataOptions(source=source))


def test_a_folder_without_train_says_what_is_there(tmp_path: Path) -> None:
    root = image_folder(tmp_path, {"trian": {"a": 1}})
    with pytest.raises(DataError, match="holds no folder 'train'; did you mean 'trian'"):
        load(DataOptions(source=f"folder:{root}"))


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    root = image_folder(tmp_path, {"train": {"cat": 4, "dog": 0}})
    with pytest.raises(DataError, match=r"class 'dog' has no images"):
        load(DataOptions(source=f"folder:{root}"))


def test_a_corrupt_image_is_named(tmp_path: Path) -> None:
    root = image_folder(tmp_path, {"train": {"cat": 4, "dog": 4}})
    whole = (root / "train/dog/2.png").read_bytes()
    for damaged in (b"", b"not an image", whole[: len(whole) // 2]):
        (root / "train/dog/2.png").write_bytes(damaged)
        with pytest.raises(DataError, match=r"cannot decode .*dog/2\.png"):
            load(DataOptions(source=f"folder:{root}"))


def test_a_class_the_train_split_lacks_is_named(tmp_path: Path) -> None:
    root = image_folder(tmp_path, {"train": {"cat": 4, "dog": 4}, "val": {"dogs": 1}})
    with pytest.raises(
        DataError, match=r"class 'dogs' of .*val is not in the train split; did you mean 'dog'"
    ):
        load(DataOptions(source=f"folder:{root}"))


def test_too_few_images_to_split_are_counted(tmp_path: Path) -> None:
    root = image_folder(tmp_path, {"train": {"cat": 9, "dog": 1}})
    with pytest.raises(DataError, match=r"class 'dog' has 1 images, not enough to split off 1 for test"):
        load(DataOptions(source=f"folder:{root}"))
