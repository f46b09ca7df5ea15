"""One class for every pixel; and handwritten digits scattered on a canvas to try it on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from supernet.elastic.inputs import Inputs
from supernet.errors import DataError
from supernet.losses import Distance, divergence, label_loss
from supernet.options import DataOptions
from supernet.preprocessing import ImagePreprocessing, resized
from supernet.seeds import generator
from supernet.sources import Progress, sources
from supernet.space import Value
from supernet.tasks.task import AS_TRAINED, FreeAxes, Metric, Score, SplitName, main_tensor

OVERLAP = Metric("mean IoU", "%", "max")
PIXELS = Metric("pixel accuracy", "%", "max")


@dataclass(frozen=True)
class Segmentation:
    """Images in, one score for every class and pixel out; a batch is ``(images, masks)``.

    Args:
        classes: their names, in the order of the labels; the first one is the background.
        channels: of the images.
        resolution: side of images and masks in pixels; an architecture of a smaller one answers with
            smaller maps, which are enlarged before they are judged.
    """

    classes: tuple[str, ...]
    channels: int
    resolution: int
    name = "image-segmentation"
    measures = (OVERLAP, PIXELS)
    ranked_by = OVERLAP
    free_axes: ClassVar[FreeAxes] = {}

    @property
    def network(self) -> dict[str, int]:
        """Classes, channels and resolution."""
        return {"classes": len(self.classes), "channels": self.channels, "resolution": self.resolution}

    def example_inputs(self, values: Mapping[str, Value] = AS_TRAINED) -> Inputs:
        """Two images of standard normal noise ``(2, channels, side, side)``."""
        side = int(values.get("resolution", self.resolution))
        return Inputs.of((2, self.channels, side, side))

    def inputs(self, batch: tuple[Tensor, Tensor], values: Mapping[str, Value] = AS_TRAINED) -> Inputs:
        """The images, at the side the architecture asks for."""
        return Inputs((resized(batch[0], int(values.get("resolution", self.resolution))),))

    def loss(
        self,
        outputs: Any,
        batch: tuple[Tensor, Tensor],
        teacher: Any | None = None,
        smoothing: float = 0.0,
        distance: Distance = divergence,
    ) -> Tensor:
        """Cross-entropy of every pixel; with a teacher, the distance from its answers."""
        side = batch[1].shape[-1]
        logits = _enlarged(outputs, side)
        if teacher is not None:
            return distance(logits, _enlarged(teacher, side))
        return label_loss(logits, batch[1], smoothing)

    def metrics(self, outputs: Any, batch: tuple[Tensor, Tensor]) -> tuple[Score, ...]:
        """Intersection over union, averaged over the classes met, and the share of right pixels."""
        masks = batch[1]
        answers = _enlarged(outputs, masks.shape[-1]).argmax(1)
        classes = torch.arange(len(self.classes), device=masks.device).view(-1, 1)
        said, true = answers.flatten() == classes, masks.flatten() == classes
        both, either = (said & true).sum(1).cpu(), (said | true).sum(1).cpu()
        right = (answers == masks).sum().cpu()
        return Score(OVERLAP, 100 * both, either), Score(PIXELS, 100 * right, torch.tensor(masks.numel()))

    def decode(self, outputs: Any) -> list[str]:
        """The classes seen, each with its share of the pixels, the background left out."""
        answers = main_tensor(outputs).argmax(1).flatten(1)
        found = []
        for picture in answers:
            counts = torch.bincount(picture, minlength=len(self.classes))
            seen = [i for i in counts.argsort(descending=True).tolist() if i and counts[i]]
            found.append(", ".join(f"{self.classes[i]} ({counts[i] / picture.numel():.0%})" for i in seen))
        return [words or "nothing" for words in found]


def _enlarged(outputs: Any, side: int) -> Tensor:
    logits = main_tensor(outputs)
    if logits.shape[-1] == side:
        return logits
    return F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Canvases:
    """Pictures with their masks, in memory.

    Args:
        images: bytes ``(pictures, 1, side, side)``.
        masks: class of every pixel ``(pictures, side, side)``.
    """

    images: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.masks)


@dataclass(frozen=True)
class ScatteredDigits:
    """Up to four handwritten digits of scikit-learn on a dark canvas; no digit is in two splits.

    Args:
        name: the source as it was asked for.
        resolution: side of a canvas in pixels.
        splits: by name.
        workers: see `Dataset.workers`.
    """

    name: str
    resolution: int
    splits: Mapping[SplitName, Canvases]
    workers: int = 0
    notes: ClassVar[tuple[str, ...]] = ()

    @cached_property
    def task(self) -> Segmentation:
        """Background and ten digits."""
        return Segmentation(("background", *map(str, range(10))), 1, self.resolution)

    def count(self, split: SplitName) -> int:
        """Canvases of a split."""
        return len(self.splits[split])

    def epoch_steps(self, batch_size: int) -> int:
        """Steps per epoch; canvases that do not fill a last batch wait for another epoch."""
        return max(1, self.count("train") // batch_size)

    def batch(self, step: int, batch_size: int, seed: int) -> tuple[Tensor, Tensor]:
        """The canvases of one step, rolled at random."""
        epoch, part = divmod(step, self.epoch_steps(batch_size))
        order = torch.randperm(self.count("train"), generator=generator(seed, "order", epoch))
        images, masks = self._shown("train", order[part * batch_size : (part + 1) * batch_size])
        rng = generator(seed, "augment", step)
        down, right = torch.randint(0, self.resolution, (2,), generator=rng).tolist()
        return images.roll((down, right), (-2, -1)), masks.roll((down, right), (-2, -1))

    def batches(
        self, split: SplitName, batch_size: int, most: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """A split in its own order, or its first ``most`` canvases: they are in no order."""
        count = min(self.count(split), most or self.count(split))
        for chosen in torch.split(torch.arange(count), batch_size):
            yield self._shown(split, chosen)

    def calibration_batches(
        self, examples: int = 512, batch_size: int = 128, seed: int = 0
    ) -> list[tuple[Tensor, Tensor]]:
        """Training canvases in random order."""
        order = torch.randperm(self.count("train"), generator=generator(seed, "calibration"))[:examples]
        return [self._shown("train", chosen) for chosen in torch.split(order, batch_size)]

    def identity(self) -> list[Any]:
        """Name, side and how many canvases."""
        return [self.name, self.resolution, [len(split) for split in self.splits.values()]]

    def preprocessing(self, values: Mapping[str, Value] = AS_TRAINED) -> dict[str, Any]:
        """How a grey canvas becomes an input: an `ImagePreprocessing`."""
        return self._shown_as.for_inputs_of(int(values.get("resolution", self.resolution))).to_json()

    @cached_property
    def _shown_as(self) -> ImagePreprocessing:
        half = torch.tensor([0.5])
        return ImagePreprocessing.plain(self.resolution, 1).normalised_with(half, half)

    def _shown(self, split: SplitName, chosen: Tensor) -> tuple[Tensor, Tensor]:
        canvases = self.splits[split]
        return self._shown_as.normalise(canvases.images[chosen]), canvases.masks[chosen]


@sources.register("scattered")
def scattered(rest: str, options: DataOptions, progress: Progress) -> ScatteredDigits:
    """``scattered``: 1,200 canvases to train on, 200 to search on and 200 to test on, 48 px unless asked."""
    from sklearn.datasets import load_digits

    if rest:
        raise DataError(f"scattered takes nothing behind it, but {rest!r} was given; write --data scattered")
    side = options.resolution or 48
    if side < 24:
        raise DataError(f"digits of 16 px do not fit a canvas of {side} px; resolution can be 24 or more")
    bunch = load_digits()
    digits = torch.from_numpy(np.round(bunch.images * (255 / 16)).astype(np.uint8))
    labels = torch.from_numpy(bunch.target).long()
    order = torch.randperm(len(labels), generator=generator(options.split_seed, "split", "scattered"))
    test = round(options.test_share * len(labels))
    search = test + round(options.search_share * len(labels))
    parts: dict[SplitName, tuple[int, Tensor]] = {
        "train": (1200, order[search:]),
        "search": (200, order[test:search]),
        "test": (200, order[:test]),
    }
    return ScatteredDigits(
        "scattered",
        side,
        {
            name: _canvases(
                digits[of], labels[of], count, side, generator(options.split_seed, "canvas", name)
            )
            for name, (count, of) in parts.items()
        },
        options.workers,
    )


def _canvases(digits: Tensor, labels: Tensor, count: int, side: int, rng: torch.Generator) -> Canvases:
    """Each canvas holds one to four digits of 16 px; a later one covers an earlier one."""
    large = digits.repeat_interleave(2, 1).repeat_interleave(2, 2)
    images = torch.zeros(count, 1, side, side, dtype=torch.uint8)
    masks = torch.zeros(count, side, side, dtype=torch.long)
    for i in range(count):
        for _ in range(int(torch.randint(1, 5, (), generator=rng))):
            which = int(torch.randint(len(labels), (), generator=rng))
            top, left = torch.randint(0, side - 15, (2,), generator=rng).tolist()
            ink = large[which] > 64
            at = (slice(top, top + 16), slice(left, left + 16))
            images[i, 0][at] = torch.where(ink, large[which], images[i, 0][at])
            masks[i][at] = torch.where(ink, labels[which] + 1, masks[i][at])
    return Canvases(images, masks)
