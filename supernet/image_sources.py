"""Images that other libraries bring: scikit-learn's digits, and what lies in torchvision's folders."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from supernet.augmentation import picture_of
from supernet.data import ImageDataset, ImageSplits, Split, image_dataset
from supernet.errors import DataError, did_you_mean
from supernet.image_folder import MEMORY_BYTES
from supernet.images import LazyImages
from supernet.options import DataOptions
from supernet.preprocessing import ImagePreprocessing
from supernet.sources import Progress, sources


@sources.register("digits")
def digits(rest: str, options: DataOptions, progress: Progress) -> ImageDataset:
    """1,797 handwritten digits of 8 px, grey, from scikit-learn's wheel; enlarged to 24 px unless asked.

    Enlarged, they leave a network some resolutions to halve, as photographs do.
    """
    from sklearn.datasets import load_digits

    if rest:
        raise DataError(f"digits takes nothing behind it, but {rest!r} was given; write --data digits")
    bunch = load_digits()
    images = torch.from_numpy(np.round(bunch.images * (255 / 16)).astype(np.uint8))[:, None]
    options = replace(options, resolution=options.resolution or 24)
    split = _split(images, torch.from_numpy(bunch.target).long(), options)
    return image_dataset(ImageSplits(tuple(map(str, range(10))), split, flips=False), options)


_GLYPHS = frozenset({"MNIST", "KMNIST", "USPS"})


@sources.register("torchvision")
def torchvision(rest: str, options: DataOptions, progress: Progress) -> ImageDataset:
    """A data set of torchvision that lies in a folder: its test split is the test split."""
    from torchvision import datasets

    name, _, root = rest.partition("@")
    known = [entry for entry in datasets.__all__ if _has_train_switch(getattr(datasets, entry))]
    if name not in known:
        raise DataError(
            f"torchvision has no data set {name!r} with a train and a test split{did_you_mean(name, known)}"
        )
    if not root:
        raise DataError(f"no folder is given for {name}; write torchvision:{name}@ROOT")
    train, test = (
        _from_torchvision(getattr(datasets, name), Path(root).expanduser(), part, options)
        for part in (True, False)
    )
    return image_dataset(ImageSplits(train[0], train[1], test=test[1], flips=name not in _GLYPHS), options)


def _has_train_switch(kind: type[Any]) -> bool:
    parameters = inspect.signature(kind).parameters
    needed = {entry.name for entry in parameters.values() if entry.default is entry.empty} - {
        "kwargs",
        "root",
    }
    return "train" in parameters and not needed


def _from_torchvision(
    kind: type[Any], root: Path, train: bool, options: DataOptions
) -> tuple[tuple[str, ...], Split]:
    try:
        found = kind(root, train=train, download=False)
        images, labels = torch.as_tensor(found.data), torch.as_tensor(found.targets).long()
    except (RuntimeError, OSError, AttributeError) as error:
        where = root / getattr(kind, "base_folder", f"{kind.__name__}/raw")
        raise DataError(
            f"cannot read {kind.__name__} in {where}: {error}; put its files there, unpacked"
        ) from error
    images = images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2)
    classes = getattr(found, "classes", None) or range(int(labels.max()) + 1)
    return tuple(map(str, classes)), _split(images, labels, options)


@dataclass(frozen=True)
class HeldPictures:
    """Images in memory, at a size of their own.

    Args:
        images: bytes ``(images, channels, height, width)``.
    """

    images: Tensor
    parallel = False

    def __len__(self) -> int:
        return len(self.images)

    def name(self, place: int) -> str:
        """Its number."""
        return f"image {place}"

    def open(self, place: int) -> AbstractContextManager[Image.Image]:
        """The image, as Pillow holds it."""
        return nullcontext(picture_of(self.images[place]))


def _split(images: Tensor, labels: Tensor, options: DataOptions) -> Split:
    """At the size that is asked for; where that is much, or random parts are shown, whenever one is needed."""
    shown = _shown(images, options)
    lazy = LazyImages(HeldPictures(images), torch.arange(len(images)), shown)
    if options.random_crop or lazy.shape.numel() > MEMORY_BYTES:
        return Split(lazy, labels)
    return Split(fitted(images, options), labels)


def _shown(images: Tensor, options: DataOptions) -> ImagePreprocessing:
    side = options.resolution or min(images.shape[2:])
    return ImagePreprocessing.asked(options, side, options.channels or images.shape[1])


def fitted(images: Tensor, options: DataOptions) -> Tensor:
    """Bytes ``(images, channels, height, width)`` with the channels and the resolution that are asked for.

    Each image goes the road that its file would go (`ImagePreprocessing.square`).
    """
    shown = _shown(images, options)
    if images.shape[1:] == (shown.channels, shown.resolution, shown.resolution) and shown.crop_share == 1:
        return images.contiguous()
    return torch.from_numpy(np.stack([shown.square(picture_of(image)) for image in images]))
