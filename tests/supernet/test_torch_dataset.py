"""Any map-style dataset becomes three splits, whatever its images are held in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import IterableDataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder

from supernet import DataOptions, from_dataset, load_data
from supernet.data import SPLITS, ImageDataset
from supernet.errors import DataError
from tests.supernet.test_data import as_bytes, image_folder

BYTES = torch.randint(0, 256, (40, 3, 10, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 4


class Held:
    """The same forty images, held in some way."""

    def __init__(self, way: str) -> None:
        self.way, self.asked = way, 0

    def __len__(self) -> int:
        return len(BYTES)

    def __getitem__(self, place: int) -> tuple[Any, int]:
        self.asked += 1
        image = BYTES[place]
        held = {
            "Pillow": Image.fromarray(image.permute(1, 2, 0).numpy()),
            "array": image.permute(1, 2, 0).numpy(),
            "bytes": image,
            "floats": image / 255,
        }
        return held[self.way], int(LABELS[place])


@pytest.mark.parametrize("way", ["Pillow", "array", "bytes", "floats"])
def test_images_are_the_same_however_they_are_held(way: str) -> None:
    data = from_dataset(Held(way), options=DataOptions(shift=0.0, flip=False))
    assert data.classes == ("0", "1", "2", "3") and data.resolution == 10 and data.name == "Held"
    shown = {
        (image.numpy().tobytes(), int(label))
        for split in SPLITS
        for images, labels in data.batches(split, 7)
        for image, label in zip(as_bytes(data, images), labels)
    }
    assert shown == {(image[:, :, 1:11].numpy().tobytes(), int(label)) for image, label in zip(BYTES, LABELS)}


def test_a_folder_as_torchvision_reads_it_gives_the_batches_of_a_folder_as_we_do(tmp_path: Path) -> None:
    root = image_folder(tmp_path, {"train": {"a": 9, "b": 9}, "val": {"b": 2}, "test": {"a": 2, "b": 2}})
    ours = load_data(DataOptions(f"folder:{root}"))
    theirs = from_dataset(
        ImageFolder(str(root / "train")),
        ImageFolder(str(root / "test")),
        Subset(_val(root), range(2)),  # type: ignore[arg-type]
    )
    assert isinstance(ours, ImageDataset) and theirs.classes == ours.classes
    assert [theirs.count(split) for split in SPLITS] == [ours.count(split) for split in SPLITS]
    for one, other in (
        (ours.batch(3, 4, 0), theirs.batch(3, 4, 0)),
        *zip(ours.batches("test", 2), theirs.batches("test", 2)),
    ):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def _val(root: Path) -> list[tuple[Image.Image, int]]:
    return [(Image.open(path), 1) for path in sorted((root / "val" / "b").iterdir())]


def test_an_image_is_asked_for_when_it_is_needed() -> None:
    held = Held("bytes")
    data = from_dataset(held, options=DataOptions(mean=(0.5,), std=(0.5,)))
    looked = held.asked
    data.batch(0, 8, 0)
    assert held.asked == looked + 8


class Restless(Held):
    """A dataset with random changes of its own."""

    def __getitem__(self, place: int) -> tuple[Any, int]:
        image = BYTES[place].float() / 255 * random.random() * torch.rand(()) * float(np.random.rand())  # noqa: NPY002
        return image, int(LABELS[place])


def test_what_a_dataset_draws_follows_from_seed_and_step() -> None:
    data = from_dataset(Restless("floats"), options=DataOptions(mean=(0.5,), std=(0.5,)))
    first = data.batch(2, 6, 0)[0]
    random.seed(3), torch.manual_seed(3)
    assert torch.equal(data.batch(2, 6, 0)[0], first)
    assert not torch.equal(data.batch(3, 6, 0)[0], first)


class Endless(IterableDataset[Any]):
    """Images in an order of their own."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (Endless(), "Endless has no len or no index; give a map-style dataset"),
        (
            TensorDataset(BYTES / 255 - 0.5, LABELS),
            r"image 0 of TensorDataset .* from -0\.5 to .*not normalised",
        ),
        (TensorDataset(BYTES[:, :, None], LABELS), r"is a tensor \(3, 1, 10, 12\); give a picture"),
        ([("cat.png", 0)] * 4, "image 0 of list is a str"),
        (TensorDataset(BYTES, LABELS - 1), "a label below 0"),
        ([(BYTES[0], "cat")] * 4, "a label that is no class number"),
        ([], "list has no image"),
    ],
)
def test_what_is_no_dataset_of_images_and_labels_is_refused(train: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_dataset(train)


def test_too_few_names_for_the_labels_are_counted() -> None:
    with pytest.raises(DataError, match="a label is 3, and there are 2 classes: a, b"):
        from_dataset(TensorDataset(BYTES, LABELS), classes=("a", "b"))
