"""Any map-style `torch.utils.data.Dataset` of images and labels, as three splits to train, search and test on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Subset

from supernet.augmentation import picture_of
from supernet.data import ImageDataset, ImageSplits, Split, image_dataset
from supernet.errors import DataError
from supernet.image_folder import decided
from supernet.images import GREY_MODES, Headers, LazyImages
from supernet.options import DataOptions
from supernet.preprocessing import ImagePreprocessing
from supernet.sources import Progress, silent, tally

LOOKED_AT = 64
"""Images whose size and colours are looked at."""


def from_dataset(
    train: Any,
    test: Any = None,
    search: Any = None,
    *,
    classes: Sequence[str] | None = None,
    options: DataOptions | None = None,
    progress: Progress = silent,
) -> ImageDataset:
    """Three splits of datasets that hold ``(image, label)``; those that are not given are split off.

    An image is a picture of Pillow, bytes or numbers from 0 to 1: a tensor ``(channels, height, width)`` or an array
    ``(height, width, channels)``, not normalised. It is asked for when it is needed. What a dataset draws from the
    generators of Python, NumPy and PyTorch follows, in training, from seed and step.

    Args:
        train: any object with ``len`` and an index, e.g. of torchvision.
        test: likewise.
        search: likewise.
        classes: names in the order of the labels; None takes those of ``train.classes``, else their numbers.
        options: how images are split and shown; the source is the name of the dataset's class.
        progress: told while labels are read one by one, which ``train.targets`` spares.

    Raises:
        DataError: for a dataset without an index, or labels that are no numbers of classes.
        ConfigError: for options that contradict the images.
    """
    options = replace(options or DataOptions(), source=type(train).__name__)
    given = {"train": train, "search": search, "test": test}
    labels = {name: _labels(data, progress) for name, data in given.items() if data is not None}
    names = _classes(train, labels, classes)
    shown, notes = decided(_looked_at(train), options)
    splits = {name: _split(given[name], found, shown, options) for name, found in labels.items()}
    found = ImageSplits(names, splits["train"], splits.get("search"), splits.get("test"), notes=tuple(notes))
    return image_dataset(found, options, progress)


@dataclass(frozen=True)
class DatasetPictures:
    """The images of a dataset.

    Args:
        dataset: holds ``(image, label)``.
    """

    dataset: Any
    parallel = False

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, place: int) -> str:
        """Its number and the dataset's class."""
        return f"image {place} of {type(self.dataset).__name__}"

    def open(self, place: int) -> AbstractContextManager[Image.Image]:
        """The image, as Pillow holds it.

        Raises:
            DataError: for what is no image, or a normalised one.
        """
        return nullcontext(_picture(self.dataset[place][0], self.name(place)))


def _picture(image: Any, name: str) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, np.ndarray):
        image = torch.from_numpy(image)
        image = image.permute(2, 0, 1) if image.dim() == 3 else image
    if (
        not isinstance(image, Tensor)
        or image.dim() not in (2, 3)
        or (image.dim() == 3 and len(image) not in (1, 3))
    ):
        what = f"a tensor {tuple(image.shape)}" if isinstance(image, Tensor) else f"a {type(image).__name__}"
        raise DataError(
            f"{name} is {what}; give a picture of Pillow, a tensor (channels, height, width) or an array "
            f"(height, width, channels), of 1 or 3 channels"
        )
    image = image[None] if image.dim() == 2 else image
    if image.dtype == torch.uint8:
        return picture_of(image)
    low, high = float(image.min()), float(image.max())
    if not (image.is_floating_point() and 0 <= low <= high <= 1):
        raise DataError(
            f"{name} holds {image.dtype} from {low:.4g} to {high:.4g}; give bytes, or numbers from 0 to 1 that are "
            f"not normalised: mean and deviation are taken away later, so that a published network knows them"
        )
    return picture_of((image * 255).round().byte())


def _labels(dataset: Any, progress: Progress) -> Tensor:
    """The class of every image, ``(images,)``."""
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DataError(
            f"{type(dataset).__name__} has no len or no index; give a map-style dataset, whose images can be asked for "
            f"in any order"
        )
    if isinstance(dataset, Subset):
        return _labels(dataset.dataset, progress)[torch.as_tensor(dataset.indices)]
    known = getattr(dataset, "targets", None)
    if known is None or len(known) != len(dataset) or getattr(dataset, "target_transform", None):
        done, known = tally(progress, "reading labels", len(dataset)), []
        for place in range(len(dataset)):
            known.append(dataset[place][1])
            done(1)
    try:
        labels = torch.tensor([int(label) for label in known], dtype=torch.long)
    except (TypeError, ValueError) as error:
        raise DataError(f"{type(dataset).__name__} has a label that is no class number: {error}") from error
    if not len(labels) or int(labels.min()) < 0:
        raise DataError(f"{type(dataset).__name__} has no image, or a label below 0; give classes from 0 on")
    return labels


def _classes(train: Any, labels: dict[str, Tensor], named: Sequence[str] | None) -> tuple[str, ...]:
    needed = max(int(found.max()) for found in labels.values()) + 1
    names = tuple(map(str, named or getattr(train, "classes", None) or range(needed)))
    if len(names) < needed:
        raise DataError(
            f"a label is {needed - 1}, and there are {len(names)} classes: {', '.join(names[:5])}"
        )
    return names


def _looked_at(train: Any) -> Headers:
    """Sizes and colours of some images, spread over all."""
    pictures = DatasetPictures(train)
    sides, grey = [], 0
    for place in range(0, len(train), max(1, len(train) // LOOKED_AT)):
        with pictures.open(place) as image:
            sides.append(min(image.size))
            grey += image.mode in GREY_MODES
    return Headers(len(sides), grey, round(median(sides)), (min(sides), max(sides)))


def _split(dataset: Any, labels: Tensor, shown: ImagePreprocessing, options: DataOptions) -> Split:
    images = LazyImages(DatasetPictures(dataset), torch.arange(len(labels)), shown, options.corrupt)
    return Split(images, labels)
