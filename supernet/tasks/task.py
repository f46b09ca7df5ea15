"""The seam between a platform of networks and what they are for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from supernet.elastic.inputs import Inputs
from supernet.losses import Distance, divergence
from supernet.space import Value

Batch = Any
"""Examples and what is to be learnt of them: a nesting of tensors that its task understands."""

SplitName = Literal["train", "search", "test"]

FreeAxes = Mapping[str, Mapping[int, str]]
"""Name of an input to its axes of any length, each with a name: ``{"input": {1: "length"}}``."""

AS_TRAINED: Mapping[str, Value] = {}
"""No choice of the architecture concerns the inputs."""


@dataclass(frozen=True)
class Metric:
    """How good answers are: a name, a unit and which way is better.

    Args:
        name: as tables and manifests show it: ``"accuracy"``.
        unit: of its values: ``"%"``, ``"bits/byte"``; empty when they are pure numbers.
        sense: ``"max"`` or ``"min"``.
    """

    name: str
    unit: str
    sense: Literal["min", "max"]

    def show(self, value: float) -> str:
        """A value with its unit, for people."""
        if self.unit == "%":
            return f"{value:.1f} %"
        return f"{value:.4g} {self.unit}".strip()


@dataclass(frozen=True, eq=False)
class Score:
    """A metric on some examples, as sums that can be added up over batches.

    Args:
        metric: whose.
        total: a sum over examples, or one for every class, ``()`` or ``(classes,)``.
        count: what it is divided by, likewise; a class that was never met has 0 and does not count.
    """

    metric: Metric
    total: Tensor
    count: Tensor

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Score):
            return NotImplemented
        sums = torch.equal(self.total, other.total) and torch.equal(self.count, other.count)
        return self.metric == other.metric and sums

    def __add__(self, other: Score) -> Score:
        return Score(self.metric, self.total + other.total, self.count + other.count)

    @property
    def value(self) -> float:
        """The mean over classes of total over count; NaN when nothing was counted."""
        seen = self.count > 0
        if not bool(seen.any()):
            return nan
        return float((self.total[seen].double() / self.count[seen].double()).mean())

    @property
    def is_share(self) -> bool:
        """Whether it is the share of examples that are right, for which an interval is known."""
        return self.metric.unit == "%" and self.total.dim() == 0

    def __str__(self) -> str:
        return self.metric.show(self.value)


class Task(Protocol):
    """What goes into a network, what it learns, and how its answers are judged."""

    @property
    def name(self) -> str:
        """As model hubs call it: ``image-classification``."""
        ...

    @property
    def measures(self) -> tuple[Metric, ...]:
        """What `metrics` answers with, in that order; the first one is what is told and published."""
        ...

    @property
    def ranked_by(self) -> Metric:
        """By which of `measures` a search ranks networks: one that moves with every example.

        Counting right answers moves in steps: on 269 images, hundreds of networks share a dozen accuracies.
        """
        ...

    @property
    def network(self) -> dict[str, int]:
        """What a network must fit, as arguments of presets and networks: classes, channels, ..."""
        ...

    @property
    def free_axes(self) -> FreeAxes:
        """Axes of the inputs that stay free in an exported file, beside that of the batch."""
        ...

    def example_inputs(self, values: Mapping[str, Value] = AS_TRAINED) -> Inputs:
        """Two typical examples, the same at every call.

        Args:
            values: of the choices that concern the inputs, see `Supernet.input_values`.
        """
        ...

    def inputs(self, batch: Batch, values: Mapping[str, Value] = AS_TRAINED) -> Inputs:
        """What a network is given of a batch, e.g. its images at an architecture's resolution."""
        ...

    def loss(
        self,
        outputs: Any,
        batch: Batch,
        teacher: Any | None = None,
        smoothing: float = 0.0,
        distance: Distance = divergence,
    ) -> Tensor:
        """How far answers are from the batch's targets or, where one is given, from a teacher's answers.

        Args:
            outputs: of a network.
            batch: what it answered to.
            teacher: outputs of another network to the same batch; no gradient reaches it.
            smoothing: share of the target mass that is spread over all classes.
            distance: from the teacher's answers.

        Returns:
            A scalar, the mean over examples.
        """
        ...

    def metrics(self, outputs: Any, batch: Batch) -> tuple[Score, ...]:
        """The answers to one batch, judged: one score for each of `measures`."""
        ...

    def decode(self, outputs: Any) -> list[str]:
        """The answers in words, one for each example."""
        ...


class Dataset(Protocol):
    """Three splits that share no example, and their task.

    Training sees ``train``, a search ranks subnets on ``search``, and what is chosen in the end is
    judged on ``test``, which neither has seen.
    """

    @property
    def name(self) -> str:
        """The source as it was asked for."""
        ...

    @property
    def task(self) -> Task:
        """What networks learn on it."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the data before they are learnt, e.g. which files were skipped."""
        ...

    @property
    def workers(self) -> int:
        """Processes that make the training batches of the next steps; 0 for none."""
        ...

    def count(self, split: SplitName) -> int:
        """Examples of a split."""
        ...

    def epoch_steps(self, batch_size: int) -> int:
        """Optimiser steps per epoch, at least one."""
        ...

    def batch(self, step: int, batch_size: int, seed: int) -> Batch:
        """The training examples of one step; the same whenever it is asked for.

        Args:
            step: counted from the start of the training, across epochs.
            batch_size: examples.
            seed: of order and augmentation.
        """
        ...

    def batches(self, split: SplitName, batch_size: int, most: int | None = None) -> Iterator[Batch]:
        """A split in its own order; of one with more than ``most`` examples as many, the same ones."""
        ...

    def calibration_batches(self, examples: int = 512, batch_size: int = 128, seed: int = 0) -> list[Batch]:
        """Training examples in random order, not augmented, to take batch-norm statistics from."""
        ...

    def identity(self) -> list[Any]:
        """What has to be equal for a training to go on with it, as JSON values."""
        ...

    def preprocessing(self, values: Mapping[str, Value] = AS_TRAINED) -> dict[str, Any]:
        """How raw data become inputs, as JSON values, for whoever runs a published network.

        Args:
            values: of the choices that concern the inputs, see `Supernet.input_values`.
        """
        ...


def added_up(scores: Sequence[Score] | None, more: Sequence[Score]) -> tuple[Score, ...]:
    """The scores of several batches together."""
    return tuple(more) if scores is None else tuple(a + b for a, b in zip(scores, more))


def is_unknown(score: Score) -> bool:
    """Whether a score is no number."""
    return isnan(score.value)


def main_tensor(outputs: Any) -> Tensor:
    """The answer among what a network returns: a tensor, or the first one, or that called ``logits`` or ``out``."""
    if isinstance(outputs, Tensor):
        return outputs
    for name in ("logits", "out"):
        if isinstance(outputs, Mapping) and name in outputs:
            return torch.as_tensor(outputs[name])
        if hasattr(outputs, name):
            return torch.as_tensor(getattr(outputs, name))
    return main_tensor(next(iter(outputs.values() if isinstance(outputs, Mapping) else outputs)))


def moved(batch: Batch, device: torch.device | str) -> Batch:
    """A batch on another device."""
    return Inputs((batch,)).to(device).args[0]


def piece_of(batch: Batch, i: int, n: int) -> tuple[Batch, float]:
    """Every ``n``-th example of a batch, from the ``i``-th on, and which share of the batch they are."""
    if n == 1:
        return batch, 1.0
    own = tree_map(lambda leaf: leaf[i::n], batch)
    return own, len(tree_leaves(own)[0]) / len(tree_leaves(batch)[0])
