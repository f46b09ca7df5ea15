"""A data source: stripes, upright or lying."""

from __future__ import annotations

import torch

from supernet.data import ImageDataset, ImageSplits, Split, image_dataset
from supernet.errors import DataError
from supernet.image_sources import fitted
from supernet.options import DataOptions
from supernet.sources import Progress


def stripes(rest: str, options: DataOptions, progress: Progress) -> ImageDataset:
    """``elsewhere:COUNT`` brings so many images of 8 px, half of each class, one brightness each."""
    if rest and not rest.isdecimal():
        raise DataError(f"elsewhere takes a number of images, and {rest!r} was given")
    count = int(rest or 60)
    pattern = torch.arange(8).remainder(2).expand(8, 8)
    bright = torch.linspace(60, 250, count).view(-1, 1, 1)
    labels = torch.arange(count) % 2
    images = torch.where(labels.view(-1, 1, 1) == 0, pattern, pattern.T) * bright
    split = Split(fitted(images.round().byte()[:, None], options), labels)
    return image_dataset(ImageSplits(("upright", "lying"), split, flips=False), options)
