"""Images to train on, to search on and to test on: three splits that share no image.

Small data sets live in memory as one tensor of bytes; of large ones every batch is decoded when it is its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from supernet.augmentation import Augmentation, augment, augmentation_of, drawing_from, picture_of
from supernet.errors import ConfigError, DataError
from supernet.images import LazyImages
from supernet.options import DataOptions
from supernet.preprocessing import ImagePreprocessing
from supernet.seeds import derive, generator
from supernet.sources import Progress, silent, tally
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

    images: Tensor | LazyImages
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Split:
        """Some of the images."""
        images = self.images.take(indices) if isinstance(self.images, LazyImages) else self.images[indices]
        return Split(images, self.labels[indices])

    def read(self, indices: Tensor, *, stand_ins: bool = False) -> tuple[Tensor, Tensor]:
        """Some of the images and their labels; where those that can not be decoded are skipped, without them.

        Args:
            stand_ins: whether the next image takes the place of one that is skipped.

        Returns:
            Bytes ``(images, channels, height, width)`` and ``(images,)``.

        Raises:
            DataError: naming the image that can not be decoded, unless those are skipped.
        """
        if not isinstance(self.images, LazyImages):
            return self.images.index_select(0, indices), self.labels[indices]
        images, used = self.images.read(indices)
        if not stand_ins and not torch.equal(used, indices):
            images, used = images[used == indices], used[used == indices]
        return images, self.labels[used]

    def picture(self, index: int) -> tuple[Image.Image, int]:
        """One whole image and its label, or the next one's where those that can not be decoded are skipped."""
        if not isinstance(self.images, LazyImages):
            return picture_of(self.images[index]), int(self.labels[index])
        picture, used = self.images.decoded(index, self.images.preprocessing.upright)
        return picture, int(self.labels[used])

    def in_memory(self, most: int, done: Callable[[int], None]) -> Split:
        """The images decoded, where that takes no more than so many bytes; else as they are.

        Args:
            done: told how many more are decoded.
        """
        if not isinstance(self.images, LazyImages) or self.images.shape.numel() > most:
            return self
        images, kept = self.images.in_memory(done)
        return Split(images, self.labels[kept])


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
        augmentation: what else happens to training images; None for nothing.
        class_weights: in the loss, by class; None weighs all alike.
        workers: processes that make the batches of the next steps.
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
    augmentation: Augmentation | None = None
    class_weights: tuple[float, ...] | None = None
    workers: int = 0

    @cached_property
    def task(self) -> ImageClassification:
        """One label for every image."""
        return ImageClassification(
            self.classes, self.channels, self.resolution, self.shown_as.interpolation, self.class_weights
        )

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
        known = [self.name, counts, self.preprocessing(), self.shift, self.flip]
        more = self.augmentation.identity() if self.augmentation else {}
        if self.class_weights:
            more["class_weights"] = list(self.class_weights)
        return [*known, more] if more else known

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
            ``(batch, channels, height, width)`` and ``(batch,)``; where images are mixed, the share of every
            class in each, ``(batch, classes)``.
        """
        chosen = self.chosen(step, batch_size, seed)
        seeds = [derive(seed, "augment", step, index) for index in chosen.tolist() if self.augmentation]
        crops = self.augmentation is not None and self.augmentation.crops
        with self._reading(derive(seed, "reading", step)):
            images, labels = self._cropped(chosen, seeds) if crops else self._moved(chosen, step, seed)
        if self.augmentation is None:
            return self.normalise(images), labels
        if not crops:
            images = self.augmentation.repainted(images, seeds)
        shown = self.augmentation.erased(self.normalise(images), seeds)
        return self.augmentation.mixed(shown, labels, len(self.classes), derive(seed, "mixing", step))

    def chosen(self, step: int, batch_size: int, seed: int) -> Tensor:
        """Which training images are shown in a step, ``(batch,)``."""
        epoch, part = divmod(step, self.epoch_steps(batch_size))
        return _order(len(self.train), seed, epoch)[part * batch_size : (part + 1) * batch_size]

    def _reading(self, seed: int) -> AbstractContextManager[None]:
        """Images in memory draw nothing; a dataset of somebody else may."""
        return drawing_from(seed) if isinstance(self.train.images, LazyImages) else nullcontext()

    def _moved(self, chosen: Tensor, step: int, seed: int) -> tuple[Tensor, Tensor]:
        images, labels = self.train.read(chosen, stand_ins=True)
        return augment(images, self.shift, self.flip, generator(seed, "augment", step)), labels

    def _cropped(self, chosen: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        assert self.augmentation is not None
        images, labels = [], []
        for index, seed in zip(chosen.tolist(), seeds):
            whole, label = self.train.picture(index)
            images.append(self.augmentation.picture(whole, seed))
            labels.append(label)
        return torch.stack(images), torch.tensor(labels)

    def batches(
        self, split: SplitName, batch_size: int, most: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """A split in its own order, not augmented; of one with more than ``most`` images as many, the same ones."""
        whole = self.split(split)
        order = torch.arange(len(whole))
        if most is not None and most < len(whole):
            order = torch.randperm(len(whole), generator=generator(0, "images", split))[:most].sort().values
        for chosen in torch.split(order, batch_size):
            images, labels = whole.read(chosen)
            if len(labels):
                yield self.normalise(images), labels

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
        read = (self.train.read(chosen, stand_ins=True) for chosen in torch.split(order, batch_size))
        return [(self.normalise(images), labels) for images, labels in read]


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
    shown_as = _shown_as(train, options, progress)
    flip = found.flips if options.flip is None else options.flip
    return ImageDataset(
        name=options.source,
        classes=found.classes,
        train=train,
        search=search,
        test=test,
        shown_as=shown_as,
        shift=round(options.shift * shown_as.resolution),
        flip=flip,
        notes=(
            *found.notes,
            *missing_words(found.classes, search.labels, "the search split"),
            *missing_words(found.classes, test.labels, "the test split"),
        ),
        augmentation=augmentation_of(options, shown_as, flip),
        class_weights=class_weights_of(options, train.labels, found.classes),
        workers=options.workers,
    )


def _shown_as(train: Split, options: DataOptions, progress: Progress) -> ImagePreprocessing:
    """How images are shown: as the options say and, so far as they do not, with the moments of the train split."""
    if options.preprocess == "model":
        raise ConfigError(
            "preprocess is 'model', and no model is known here; give supernet.build.data_for(data, supernet) "
            "to load_data, or set mean, std, interpolation and crop_share"
        )
    _, channels, side, _ = train.images.shape
    asked = ImagePreprocessing.asked(options, side, channels)
    if options.mean and options.std:
        return asked
    mean, std = _statistics(train, options.split_seed, progress)
    measured = asked.normalised_with(mean, std)
    return replace(
        measured,
        mean=asked.mean if options.mean else measured.mean,
        std=asked.std if options.std else measured.std,
    )


def class_weights_of(
    options: DataOptions, labels: Tensor, classes: Sequence[str]
) -> tuple[float, ...] | None:
    """The weight of every class in the loss; None when all weigh alike.

    Raises:
        ConfigError: for a list that does not fit the classes.
    """
    asked = options.class_weights
    if asked == "none":
        return None
    if asked == "balanced":
        counts = labels.bincount(minlength=len(classes)).clamp_min(1).double()
        return tuple((len(labels) / (len(classes) * counts)).tolist())
    weights = tuple(float(weight) for weight in asked)
    if len(weights) != len(classes) or min(weights) <= 0:
        raise ConfigError(
            f"data.class_weights has {len(weights)} values from {min(weights, default=0):g}; give one for each of the "
            f"{len(classes)} classes, in their order, above zero: {', '.join(classes[:5])}, ..."
        )
    return weights


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


def _statistics(train: Split, seed: int, progress: Progress) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over 4,096 training images, on a scale from 0 to 1."""
    sample = torch.randperm(len(train), generator=generator(seed, "statistics"))[:4096]
    moments = torch.zeros(2, train.images.shape[1], dtype=torch.float64)
    told = progress if isinstance(train.images, LazyImages) else silent
    done = tally(told, "taking mean and deviation", len(sample))
    for chosen in torch.split(sample, 256):
        pixels = train.read(chosen, stand_ins=True)[0].double() / 255
        moments += torch.stack([pixels.sum((0, 2, 3)), pixels.square().sum((0, 2, 3))])
        done(len(chosen))
    mean, square = moments / (len(sample) * train.images.shape[2] * train.images.shape[3])
    std = (square - mean.square()).clamp_min(0).sqrt().clamp_min(1e-3)
    return mean.float(), std.float()


@lru_cache(maxsize=2)
def _order(images: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(images, generator=generator(seed, "order", epoch))
