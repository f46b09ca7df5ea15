"""Images to train on, to search on and to test on: three splits that share no image.

Small data sets live in memory as one tensor of bytes.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from supernet.errors import DataError, did_you_mean
from supernet.images import ImageFiles
from supernet.options import DataOptions
from supernet.preprocessing import ImagePreprocessing
from supernet.seeds import generator
from supernet.sources import Progress, silent, sources, tally
from supernet.space import Value
from supernet.tasks.classification import ImageClassification
from supernet.tasks.task import AS_TRAINED, SplitName

SPLITS: tuple[SplitName, ...] = ("train", "search", "test")


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
class ImageSplits:
    """What a source of images brings: a train split, and the other two where they exist.

    Args:
        flips: whether a mirrored image still is one of its class.
        notes: what a person should know of them, e.g. which files were skipped.
    """

    classes: tuple[str, ...]
    train: Split
    search: Split | None = None
    test: Split | None = None
    flips: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageDataset:
    """Three splits of labelled images, and how they are shown to a network.

    Args:
        name: the source as it was asked for.
        classes: names of the classes, in the order of the labels.
        shown_as: how an image becomes an input; mean and deviation are those of the train split.
        shift: largest random shift in training, in pixels.
        flip: whether training images are mirrored at random.
        notes: what a person should know of them.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    search: Split
    test: Split
    shown_as: ImagePreprocessing
    shift: int
    flip: bool
    notes: tuple[str, ...] = ()

    @cached_property
    def task(self) -> ImageClassification:
        """One label for every image."""
        return ImageClassification(self.classes, self.channels, self.resolution)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self.shown_as.channels

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return self.shown_as.resolution

    def split(self, name: SplitName) -> Split:
        """A split by name."""
        return {"train": self.train, "search": self.search, "test": self.test}[name]

    def count(self, split: SplitName) -> int:
        """Images of a split."""
        return len(self.split(split))

    def identity(self) -> list[Any]:
        """What has to be equal for a training to go on with it."""
        counts = {name: self.count(name) for name in SPLITS}
        return [self.name, counts, self.preprocessing(), self.shift, self.flip]

    def preprocessing(self, values: Mapping[str, Value] = AS_TRAINED) -> dict[str, Any]:
        """How an image becomes an input: an `ImagePreprocessing`."""
        return self.shown_as.for_inputs_of(int(values.get("resolution", self.resolution))).to_json()

    def normalise(self, images: Tensor) -> Tensor:
        """Bytes ``(images, channels, height, width)`` as a network sees them: floats, normalised."""
        return self.shown_as.normalise(images)

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
        return self.normalise(images), self.train.labels[chosen]

    def batches(
        self, split: SplitName, batch_size: int, most: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """A split in its own order, not augmented; of one with more than ``most`` images as many, the same ones."""
        whole = self.split(split)
        order = torch.arange(len(whole))
        if most is not None and most < len(whole):
            order = torch.randperm(len(whole), generator=generator(0, "images", split))[:most].sort().values
        for chosen in torch.split(order, batch_size):
            yield self.normalise(whole.images[chosen]), whole.labels[chosen]

    def calibration_batches(
        self, examples: int = 512, batch_size: int = 128, seed: int = 0
    ) -> list[tuple[Tensor, Tensor]]:
        """Training images in random order, to take batch-norm statistics from.

        The order matters: statistics of the first 2,048 images of a data set sorted by class, all of
        them aeroplanes, cost 12 points of accuracy.

        Returns:
            Images ``(batch, channels, height, width)``, not augmented, with their labels.
        """
        order = torch.randperm(len(self.train), generator=generator(seed, "calibration"))[:examples]
        return [
            (self.normalise(self.train.images[chosen]), self.train.labels[chosen])
            for chosen in torch.split(order, batch_size)
        ]


def image_dataset(found: ImageSplits, options: DataOptions, progress: Progress = silent) -> ImageDataset:
    """Images with the splits that are missing split off.

    Raises:
        DataError: when there are too few images, or a single class.
    """
    need_two(found.classes, options.source)
    train, test, search = found.train, found.test, found.search
    left = 1.0
    if test is None:
        train, test = split_off(train, options.test_share, options.split_seed, "test", found.classes)
        left -= options.test_share
    if search is None:
        share = options.search_share / left
        train, search = split_off(train, share, options.split_seed, "search", found.classes)
    _, channels, side, _ = train.images.shape
    return ImageDataset(
        name=options.source,
        classes=found.classes,
        train=train,
        search=search,
        test=test,
        shown_as=ImagePreprocessing.plain(side, channels).normalised_with(
            *_statistics(train, options.split_seed, progress)
        ),
        shift=round(options.shift * side),
        flip=found.flips if options.flip is None else options.flip,
        notes=(
            *found.notes,
            *missing_words(found.classes, search.labels, "the search split"),
            *missing_words(found.classes, test.labels, "the test split"),
        ),
    )


def need_two(classes: Sequence[str], where: str) -> None:
    """Refuse data that leave nothing to learn.

    Raises:
        DataError: when there are fewer than two classes.
    """
    if len(classes) < 2:
        raise DataError(
            f"{where} holds one class, {', '.join(map(repr, classes))}: every answer would be right; "
            "add the images of a second one"
        )


def missing_words(classes: Sequence[str], labels: Tensor, where: str) -> list[str]:
    """A sentence on the classes that no label names, when there are any."""
    counts = labels.bincount(minlength=len(classes)).tolist()
    missing = [repr(label) for label, count in zip(classes, counts) if not count]
    if not missing:
        return []
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    named = ", ".join(missing[:5]) + more
    return [f"{where} holds no image of {named}: its figures say nothing about that"]


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


def _statistics(train: Split, seed: int, progress: Progress) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over 4,096 training images, on a scale from 0 to 1."""
    sample = torch.randperm(len(train), generator=generator(seed, "statistics"))[:4096]
    moments = torch.zeros(2, train.images.shape[1], dtype=torch.float64)
    told = progress if isinstance(train.images, ImageFiles) else silent
    done = tally(told, "taking mean and deviation", len(sample))
    for chosen in torch.split(sample, 256):
        pixels = train.images[chosen].double() / 255
        moments += torch.stack([pixels.sum((0, 2, 3)), pixels.square().sum((0, 2, 3))])
        done(len(chosen))
    mean, square = moments / (len(sample) * train.images.shape[2] * train.images.shape[3])
    std = (square - mean.square()).clamp_min(0).sqrt().clamp_min(1e-3)
    return mean.float(), std.float()


@lru_cache(maxsize=2)
def _order(images: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(images, generator=generator(seed, "order", epoch))


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
    split = Split(fitted(images, options), torch.from_numpy(bunch.target).long())
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
    return tuple(map(str, classes)), Split(fitted(images, options), labels)


def fitted(images: Tensor, options: DataOptions) -> Tensor:
    """Bytes ``(images, channels, height, width)`` with the channels and the resolution that are asked for.

    Each image goes the road that its file would go (`ImagePreprocessing.square`).
    """
    side = options.resolution or min(images.shape[2:])
    shown = ImagePreprocessing.plain(side, options.channels or images.shape[1])
    if images.shape[1:] == (shown.channels, side, side):
        return images.contiguous()
    return torch.from_numpy(np.stack([shown.square(_picture(image)) for image in images]))


def _picture(image: Tensor) -> Image.Image:
    """Bytes ``(channels, height, width)`` as Pillow holds them."""
    return Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())
