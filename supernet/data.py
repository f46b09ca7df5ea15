"""Images to train on, to search on and to test on: three splits that share no image.

Training sees `Dataset.train`, a search ranks subnets on `Dataset.search`, and what is chosen in the end
is judged on `Dataset.test`, which neither has seen. Small data sets live in memory as one tensor of bytes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from supernet.errors import DataError, did_you_mean
from supernet.images import ImageFiles, labelled, native_size
from supernet.options import DataOptions
from supernet.registry import Registry
from supernet.seeds import generator

SplitName = Literal["train", "search", "test"]
MEMORY_BYTES = 2 << 30
"""Folders that decode to more than this stay on disk."""


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Args:
        images: bytes ``(images, channels, height, width)``, in memory or decoded when indexed.
        labels: class of each image, ``(images,)``.
    """

    images: Tensor | ImageFiles
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Split:
        """Some of the images."""
        images = self.images.take(indices) if isinstance(self.images, ImageFiles) else self.images[indices]
        return Split(images, self.labels[indices])


@dataclass(frozen=True)
class Found:
    """What a source brings: a train split, and the other two where they exist.

    Args:
        flips: whether a mirrored image still is one of its class.
    """

    classes: tuple[str, ...]
    train: Split
    search: Split | None = None
    test: Split | None = None
    flips: bool = True


sources = Registry[Callable[[str, DataOptions], Found]]("data source", group="supernet.sources")
"""What can stand before the colon of ``--data``; the function gets what stands behind it."""


@dataclass(frozen=True)
class Dataset:
    """Three splits, and how their images are shown to a network.

    Args:
        name: the source as it was asked for.
        classes: names of the classes, in the order of the labels.
        mean: of the train split's channels, on a scale from 0 to 1, ``(channels, 1, 1)``.
        std: their standard deviations, likewise.
        shift: largest random shift in training, in pixels.
        flip: whether training images are mirrored at random.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    search: Split
    test: Split
    mean: Tensor
    std: Tensor
    shift: int
    flip: bool

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self.train.images.shape[1]

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return self.train.images.shape[2]

    def split(self, name: SplitName) -> Split:
        """A split by name."""
        return {"train": self.train, "search": self.search, "test": self.test}[name]

    def show(self, images: Tensor) -> Tensor:
        """Bytes ``(images, channels, height, width)`` as a network sees them: floats, normalised."""
        return (images.float() / 255 - self.mean) / self.std

    def epoch_steps(self, batch_size: int) -> int:
        """Steps per epoch; images that do not fill a last batch wait for another epoch."""
        return max(1, len(self.train) // batch_size)

    def batch(self, step: int, batch_size: int, seed: int) -> tuple[Tensor, Tensor]:
        """The augmented training images of one step and their labels; the same whenever it is asked for.

        Args:
            step: counted from the start of the training, across epochs.
            batch_size: images of a step; all of them when the split holds fewer.
            seed: of order and augmentation.

        Returns:
            ``(batch, channels, height, width)`` and ``(batch,)``.
        """
        epoch, part = divmod(step, self.epoch_steps(batch_size))
        chosen = _order(len(self.train), seed, epoch)[part * batch_size : (part + 1) * batch_size]
        images = augment(self.train.images[chosen], self.shift, self.flip, generator(seed, "augment", step))
        return self.show(images), self.train.labels[chosen]

    def batches(
        self, split: SplitName, batch_size: int, most: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """A split in its own order, not augmented; of one with more than ``most`` images as many, the same ones."""
        whole = self.split(split)
        order = torch.arange(len(whole))
        if most is not None and most < len(whole):
            order = torch.randperm(len(whole), generator=generator(0, "images", split))[:most].sort().values
        for chosen in torch.split(order, batch_size):
            yield self.show(whole.images[chosen]), whole.labels[chosen]

    def calibration_batches(self, images: int = 512, batch_size: int = 128, seed: int = 0) -> list[Tensor]:
        """Training images in random order, to take batch-norm statistics from.

        The order matters: statistics of the first 2,048 images of a data set sorted by class, all of
        them aeroplanes, cost 12 points of accuracy.

        Returns:
            Batches ``(batch, channels, height, width)``, not augmented.
        """
        order = torch.randperm(len(self.train), generator=generator(seed, "calibration"))[:images]
        return [self.show(self.train.images[chosen]) for chosen in torch.split(order, batch_size)]


def load(options: DataOptions) -> Dataset:
    """The data set that is asked for, split three ways.

    Raises:
        DataError: for a source that is unknown, missing or damaged, or has too few images to split.
    """
    kind, _, rest = options.source.partition(":")
    if kind not in sources:
        raise DataError(
            f"no data source is called {kind!r}{did_you_mean(kind, sources)}; "
            "write digits, folder:PATH or torchvision:NAME@ROOT"
        )
    found = sources[kind](rest, options)
    train, test, search = found.train, found.test, found.search
    left = 1.0
    if test is None:
        train, test = split_off(train, options.test_share, options.split_seed, "test", found.classes)
        left -= options.test_share
    if search is None:
        share = options.search_share / left
        train, search = split_off(train, share, options.split_seed, "search", found.classes)
    mean, std = _statistics(train, options.split_seed)
    return Dataset(
        name=options.source,
        classes=found.classes,
        train=train,
        search=search,
        test=test,
        mean=mean,
        std=std,
        shift=round(options.shift * train.images.shape[2]),
        flip=found.flips if options.flip is None else options.flip,
    )


def split_off(
    split: Split, share: float, seed: int, purpose: str, classes: tuple[str, ...]
) -> tuple[Split, Split]:
    """What stays, and a share of the images of every class.

    Raises:
        DataError: when a class has too few images for both.
    """
    stay: list[Tensor] = []
    leave: list[Tensor] = []
    for label, name in enumerate(classes):
        members = (split.labels == label).nonzero().flatten()
        count = max(1, round(share * len(members)))
        if count >= len(members):
            raise DataError(
                f"class {name!r} has {len(members)} images, not enough to split off {count} for {purpose}; "
                f"add images, or bring a {purpose} split of its own"
            )
        members = members[torch.randperm(len(members), generator=generator(seed, "split", purpose, label))]
        leave.append(members[:count])
        stay.append(members[count:])
    return split.take(torch.cat(stay).sort().values), split.take(torch.cat(leave).sort().values)


def augment(images: Tensor, shift: int, flip: bool, rng: torch.Generator) -> Tensor:
    """Each image moved by up to ``shift`` pixels either way, its edge repeated, and perhaps mirrored.

    Args:
        images: bytes ``(images, channels, height, width)``, left as they are.
    """
    count, _, height, width = images.shape
    down, right = torch.randint(-shift, shift + 1, (2, count, 1), generator=rng)
    rows = (torch.arange(height) + down).clamp(0, height - 1)
    columns = (torch.arange(width) + right).clamp(0, width - 1)
    if flip:
        mirrored = torch.rand(count, 1, generator=rng) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    moved = images[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2).contiguous()


def _statistics(train: Split, seed: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over 4,096 training images, on a scale from 0 to 1."""
    sample = torch.randperm(len(train), generator=generator(seed, "statistics"))[:4096]
    moments = torch.zeros(2, train.images.shape[1], dtype=torch.float64)
    for chosen in torch.split(sample, 256):
        pixels = train.images[chosen].double() / 255
        moments += torch.stack([pixels.sum((0, 2, 3)), pixels.square().sum((0, 2, 3))])
    mean, square = moments / (len(sample) * train.images.shape[2] * train.images.shape[3])
    std = (square - mean.square()).clamp_min(0).sqrt().clamp_min(1e-3)
    return mean.float().view(-1, 1, 1), std.float().view(-1, 1, 1)


@lru_cache(maxsize=2)
def _order(images: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(images, generator=generator(seed, "order", epoch))


@sources.register("digits")
def digits(rest: str, options: DataOptions) -> Found:
    """1,797 handwritten digits of 8 px, grey, from scikit-learn's wheel; enlarged to 24 px unless asked.

    Enlarged, they leave a network some resolutions to halve, as photographs do.
    """
    from sklearn.datasets import load_digits

    if rest:
        raise DataError(f"digits takes nothing behind it, but {rest!r} was given; write --data digits")
    bunch = load_digits()
    images = torch.from_numpy(np.round(bunch.images * (255 / 16)).astype(np.uint8))[:, None]
    options = replace(options, resolution=options.resolution or 24)
    split = Split(shown(images, options), torch.from_numpy(bunch.target).long())
    return Found(tuple(map(str, range(10))), split, flips=False)


@sources.register("folder")
def folder(rest: str, options: DataOptions) -> Found:
    """An image folder: ``train/CLASS/IMAGE`` and, where they exist, ``val/`` and ``test/`` likewise."""
    root = Path(rest).expanduser()
    if not rest or not root.is_dir():
        raise DataError(
            f"there is no folder {rest!r}; write folder:PATH with a folder that holds train/CLASS/IMAGE"
        )
    if not (root / "train").is_dir():
        inside = (entry.name for entry in root.iterdir() if entry.is_dir())
        raise DataError(
            f"{root} holds no folder 'train'{did_you_mean('train', inside)}; put train/CLASS/IMAGE there"
        )
    classes, files, labels = labelled(root / "train")
    side, channels = native_size(files[0])
    options = replace(options, resolution=options.resolution or side, channels=options.channels or channels)
    search, test = (
        _from_files(*labelled(root / name, classes)[1:], options) if (root / name).is_dir() else None
        for name in ("val", "test")
    )
    return Found(classes, _from_files(files, labels, options), search, test)


def _from_files(files: list[Path], labels: list[int], options: DataOptions) -> Split:
    assert options.resolution and options.channels
    images = ImageFiles(tuple(files), options.resolution, options.channels)
    in_memory = images.shape.numel() <= MEMORY_BYTES
    return Split(images[torch.arange(len(files))] if in_memory else images, torch.tensor(labels))


_GLYPHS = frozenset({"MNIST", "KMNIST", "USPS"})


@sources.register("torchvision")
def torchvision(rest: str, options: DataOptions) -> Found:
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
    return Found(train[0], train[1], test=test[1], flips=name not in _GLYPHS)


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
    return tuple(map(str, classes)), Split(shown(images, options), labels)


def shown(images: Tensor, options: DataOptions) -> Tensor:
    """Bytes ``(images, channels, height, width)`` with the channels and the resolution that are asked for."""
    if options.channels == 1 and images.shape[1] == 3:
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        images = torch.cat(
            [(part * weights).sum(1, keepdim=True).round().byte() for part in torch.split(images, 4096)]
        )
    elif options.channels == 3 and images.shape[1] == 1:
        images = images.repeat(1, 3, 1, 1)
    side = options.resolution or images.shape[2]
    if images.shape[2:] == (side, side):
        return images.contiguous()
    return torch.cat(
        [
            F.interpolate(part.float(), (side, side), mode="bilinear", antialias=True).round().byte()
            for part in torch.split(images, 4096)
        ]
    )
