"""What a training saw: losses by role, scores after epochs, and the same as TensorBoard curves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supernet.curves import Curves
from supernet.sight import FIGURE, Look, draw_watched

if TYPE_CHECKING:
    from supernet.evaluate import Result
    from supernet.tasks.task import Metric


@dataclass(frozen=True)
class Epoch:
    """What was seen by the end of an epoch.

    Args:
        epoch: counted from 1.
        step: optimiser steps so far.
        lr: learning rate of the last one.
        losses: mean over the epoch for each role: largest, smallest, between.
        largest: first metric of the largest subnet on the search split, in its unit; None when it was
            not looked at.
        smallest: likewise of the smallest one.
    """

    epoch: int
    step: int
    lr: float
    losses: dict[str, float]
    largest: float | None = None
    smallest: float | None = None


@dataclass
class Record:
    """The history of one training, which a checkpoint keeps.

    Args:
        folder: where the curves go; None keeps none.
        history: one entry per epoch.
        losses: of the epoch that runs, by role.
        spent: multiply-adds so far for each example of a batch, of the ``lessons`` (a pass back counts as two
            forward) and of a ``teacher`` that was trained before; empty where there is none.
        looks: at the subnets that are watched through the training.

    Attributes:
        curves: the same for TensorBoard.
    """

    folder: Path | None = None
    history: list[Epoch] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    curves: Curves = field(init=False)
    _begun: tuple[float, int] = (0.0, 0)

    def __post_init__(self) -> None:
        self.curves = Curves(self.folder)

    def open(self, step: int) -> None:
        """Begin or go on with the curves; what a killed run logged after ``step`` is logged again.

        Raises:
            StateError: when the folder cannot be written to.
        """
        self._begun = time.monotonic(), step
        self.curves.open(step)

    def close(self) -> None:
        """End the curves.

        Raises:
            StateError: when the folder cannot be written to.
        """
        self.curves.close()

    @property
    def is_open(self) -> bool:
        """Whether curves are drawn."""
        return self.curves.is_open

    def pace(self, step: int, examples: int, memory_mib: float) -> None:
        """Draw how many examples a second the steps since the last epoch have seen, of so many each."""
        start, first = self._begun
        if step > first:
            self.curves.scalar(
                "examples_per_second", (step - first) * examples / (time.monotonic() - start), step
            )
        self.curves.scalar("memory_mib", memory_mib, step)

    def step(
        self, step: int, losses: Mapping[str, float], lr: float, gradient_norm: float | None = None
    ) -> None:
        """Note one optimiser step."""
        if gradient_norm is not None:
            self.curves.scalar("gradient_norm", gradient_norm, step)
        for role, loss in losses.items():
            self.losses.setdefault(role, []).append(loss)
            self.curves.scalar(f"loss/{role}", loss, step)
        self.curves.scalar("learning_rate", lr, step)

    def spend(self, on: str, macs: int) -> None:
        """Note multiply-adds."""
        self.spent[on] = self.spent.get(on, 0) + macs

    @property
    def teacher_share(self) -> float | None:
        """What part of the training's multiply-adds its teacher took; None where there is none, or it is not known."""
        return self.spent.get("teacher", 0) / sum(self.spent.values()) if self.spent.get("lessons") else None

    def epoch(self, epoch: int, step: int, lr: float, seen: Mapping[str, Result]) -> Epoch:
        """Note the end of an epoch, and what its subnets are worth."""
        means = {role: sum(values) / len(values) for role, values in self.losses.items()}
        entry = Epoch(epoch, step, lr, means, **{role: result.value for role, result in seen.items()})
        self.history.append(entry)
        self.losses = {}
        self._begun = time.monotonic(), step
        for role, result in seen.items():
            for score in result.scores:
                self.curves.scalar(f"search {score.metric.name}/{role}", score.value, step)
        return entry

    def look(self, look: Look, step: int, metric: Metric) -> None:
        """Note what the watched subnets are worth."""
        self.looks.append(look)
        for i, value in enumerate(look.values):
            self.curves.scalar(f"watched {metric.name}/{i}", value, step)

    def draw(self, step: int, metric: Metric) -> None:
        """Draw all looks, beside the checkpoint and among the curves.

        Raises:
            StateError: when the folder cannot be written to.
        """
        if self.folder and self.is_open and self.looks:
            self.curves.picture("watched", draw_watched(self.looks, metric, self.folder / FIGURE), step)

    def go_back(self, step: int, words: str) -> None:
        """The training goes on after an earlier step: the curves too, and the words stand beside them.

        Raises:
            StateError: when the folder cannot be written to.
        """
        if self.is_open:
            self.close()
            self.open(step)
            self.curves.text("guard", words, step)

    @property
    def last_seen(self) -> tuple[float, float] | None:
        """The first metric of the largest and the smallest subnet, when they were last looked at."""
        for epoch in reversed(self.history):
            if epoch.largest is not None and epoch.smallest is not None:
                return epoch.largest, epoch.smallest
        return None

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint."""
        history = [asdict(epoch) for epoch in self.history]
        looks = [asdict(look) for look in self.looks]
        return {"losses": self.losses, "history": history, "spent": self.spent, "looks": looks}

    def restore(self, document: Mapping[str, Any]) -> None:
        """What `to_json` wrote."""
        self.losses = document["losses"]
        self.history = [Epoch(**epoch) for epoch in document["history"]]
        self.spent = document.get("spent", {})
        self.looks = [Look(**look) for look in document.get("looks", ())]
