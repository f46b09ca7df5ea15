"""timm's augmentation follows from seed, step and image alone, and does what its names say."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from supernet.augmentation import augmentation_of
from supernet.data import ImageDataset
from supernet.errors import ConfigError
from supernet.images import LazyImages
from supernet.options import DataOptions
from supernet.preprocessing import ImagePreprocessing
from supernet.seeds import derive
from supernet.sources import load_data
from tests.supernet.test_data import image_folder, load

KINDS: dict[str, dict[str, Any]] = {
    "crop": {"random_crop": (0.2, 0.8)},
    "rand": {"auto_augment": "rand-m9-mstd0.5-inc1"},
    "auto": {"auto_augment": "original"},
    "mix of policies": {"auto_augment": "augmix-m3-w3"},
    "jitter": {"colour_jitter": 0.4},
    "erasing": {"erasing": 0.9},
    "mixup": {"mixup": 0.8},
    "cutmix": {"cutmix": 1.0},
    "all": {
        "random_crop": (0.2, 1.0),
        "auto_augment": "rand-m7",
        "colour_jitter": 0.2,
        "erasing": 0.3,
        "mixup": 0.2,
        "cutmix": 1.0,
    },
}


@cache
def digits(channels: int) -> ImageDataset:
    return load(DataOptions(resolution=8, channels=channels, shift=0.0))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_follows_from_seed_and_step_whatever_was_drawn_before(kind: str, channels: int) -> None:
    plain = digits(channels)
    data = replace(
        plain, augmentation=augmentation_of(DataOptions(**KINDS[kind]), plain.shown_as, flip=False)
    )
    first = data.batch(3, 6, seed=1)
    random.seed(5), np.random.seed(5), torch.manual_seed(5)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()  # noqa: NPY002
    again = data.batch(3, 6, seed=1)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()  # noqa: NPY002
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert first[0].shape == (6, channels, 8, 8) and first[0].dtype == torch.float32
    assert not torch.equal(first[0], plain.batch(3, 6, seed=1)[0])
    assert not torch.equal(first[0], data.batch(3, 6, seed=2)[0])
    assert data.identity() != plain.identity()


def test_an_image_is_changed_anew_at_every_step_and_apart_from_the_others() -> None:
    shown = ImagePreprocessing.plain(12, 3)
    augmentation = augmentation_of(DataOptions(auto_augment="rand-m9-mstd0.5"), shown, flip=False)
    assert augmentation is not None
    one = torch.randint(0, 256, (3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seeds = [derive(0, "augment", step, 7) for step in range(20)]
    many = augmentation.repainted(one.expand(20, -1, -1, -1), seeds)
    assert len({image.numpy().tobytes() for image in many}) > 12
    assert torch.equal(augmentation.repainted(one[None], seeds[4:5])[0], many[4])


def test_the_next_epoch_changes_the_same_images_in_another_way() -> None:
    plain = digits(1)
    painted = augmentation_of(DataOptions(colour_jitter=0.8), plain.shown_as, flip=False)
    few = replace(plain, train=plain.train.take(torch.arange(4)), augmentation=painted)
    epochs = [{image.numpy().tobytes() for image in few.batch(step, 4, seed=0)[0]} for step in range(3)]
    assert len(set.union(*epochs)) == 12


def test_what_nobody_asks_for_is_not_there() -> None:
    assert load(DataOptions(resolution=8)).augmentation is None


def test_a_random_crop_is_cut_from_the_file_and_not_from_what_was_scaled(tmp_path: Path) -> None:
    """A quarter of a picture of fine stripes keeps them; of the scaled picture it would be one grey."""
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(stripes).save(tmp_path / "train" / name / f"{i}.png")
    whole = load(DataOptions(f"folder:{tmp_path}", resolution=16, mean=(0.0,), std=(1.0,)))
    part = load(
        DataOptions(
            f"folder:{tmp_path}", resolution=16, mean=(0.0,), std=(1.0,), random_crop=(0.06, 0.07),
            interpolation="nearest",
        )
    )  # fmt: skip
    assert isinstance(part.train.images, LazyImages) and isinstance(whole.train.images, torch.Tensor)
    assert whole.batch(0, 4, 0)[0].std() < 0.1 < 0.3 < part.batch(0, 4, 0)[0].std()


def test_mixed_labels_say_how_much_of_each_image_there_is() -> None:
    shown = ImagePreprocessing.plain(8, 1)
    ones = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 1, 8, 8)
    for options in (DataOptions(mixup=1.0), DataOptions(cutmix=1.0)):
        augmentation = augmentation_of(options, shown, flip=False)
        assert augmentation is not None
        for seed in range(4):
            mixed, targets = augmentation.mixed(ones.clone(), torch.arange(5), 5, seed)
            # the mean of an image is that of the images in it, each by its share
            torch.testing.assert_close(mixed.mean((1, 2, 3)), targets @ torch.arange(5.0))
            torch.testing.assert_close(targets.sum(1), torch.ones(5))
        assert targets[4].tolist() == [0, 0, 0, 0, 1]  # there is nobody to mix the fifth with


def test_blots_differ_from_image_to_image() -> None:
    augmentation = augmentation_of(DataOptions(erasing=1.0), ImagePreprocessing.plain(16, 1), flip=False)
    assert augmentation is not None
    erased = augmentation.erased(torch.zeros(8, 1, 16, 16), range(8))
    assert len({(image != 0).numpy().tobytes() for image in erased}) > 4
    assert all(0 < (image != 0).float().mean() < 0.5 for image in erased)


@pytest.mark.parametrize("policy", ["rnd-m9", "rand-q9", "originals"])
def test_a_policy_that_timm_does_not_know_is_refused(policy: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.auto_augment is '{policy}'.*rand-m9"):
        load_data(DataOptions(resolution=8, auto_augment=policy))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataOptions(random_crop=(0.5, 0.2)), r"random_crop is \[0.5, 0.2\]"),
        (lambda: DataOptions(erasing=1.5), r"erasing is 1.5; it can be 0 to 1"),
        (lambda: DataOptions(mixup=-1.0), r"mixup is -1; it can be at least 0"),
        (lambda: DataOptions(workers=-1), r"workers is -1"),
    ],
)
def test_an_option_outside_its_range_is_refused(make: Callable[[], DataOptions], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_random_crop_of_digits_is_cut_before_they_are_enlarged() -> None:
    data = load(DataOptions(resolution=24, random_crop=(1.0, 1.0), interpolation="nearest", flip=False))
    assert data.train.picture(0)[0].size == (8, 8)
    images, _ = data.batch(0, 4, 0)
    assert torch.equal(images, images[:, :, ::3, ::3].repeat_interleave(3, 2).repeat_interleave(3, 3))


def test_a_crop_of_a_folder_is_one_of_every_image(tmp_path: Path) -> None:
    root = image_folder(tmp_path, {"train": {"a": 9, "b": 9}})
    data = load(DataOptions(f"folder:{root}", random_crop=(0.9, 1.0)))
    assert isinstance(data, ImageDataset)
    images, labels = data.batch(0, 8, 0)
    assert images.shape == (8, 3, 12, 12)
    assert torch.equal(labels, data.train.labels[data.chosen(0, 8, 0)])
