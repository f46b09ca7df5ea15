"""What a training saw: losses by role, scores after epochs, and the same as TensorBoard curves."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supernet.errors import StateError

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

    from supernet.evaluate import Result

log = logging.getLogger(__name__)

LOG = "tensorboard"


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
    """

    folder: Path | None = None
    history: list[Epoch] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    _writer: SummaryWriter | None = None

    def open(self, step: int) -> None:
        """Begin or go on with the curves; what a killed run logged after ``step`` is logged again.

        Raises:
            StateError: when the folder cannot be written to.
        """
        if self.folder is None:
            return
        from torch.utils.tensorboard.writer import SummaryWriter

        with _writing(self.folder):
            self._writer = SummaryWriter(str(self.folder / LOG), purge_step=step + 1)

    def close(self) -> None:
        """End the curves.

        Raises:
            StateError: when the folder cannot be written to.
        """
        if self._writer and self.folder:
            with _writing(self.folder):
                self._writer.close()

    def step(self, step: int, losses: Mapping[str, float], lr: float) -> None:
        """Note one optimiser step."""
        for role, loss in losses.items():
            self.losses.setdefault(role, []).append(loss)
            self._scalar(f"loss/{role}", loss, step)
        self._scalar("learning_rate", lr, step)

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
        for role, result in seen.items():
            for score in result.scores:
                self._scalar(f"search {score.metric.name}/{role}", score.value, step)
        return entry

    def go_back(self, step: int, words: str) -> None:
        """The training goes on after an earlier step: the curves too, and the words stand beside them.

        Raises:
            StateError: when the folder cannot be written to.
        """
        if self._writer and self.folder:
            self.close()
            self.open(step)
            with _writing(self.folder):
                self._writer.add_text("guard", words, step)

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
        return {"losses": self.losses, "history": history, "spent": self.spent}

    def restore(self, document: Mapping[str, Any]) -> None:
        """What `to_json` wrote."""
        self.losses = document["losses"]
        self.history = [Epoch(**epoch) for epoch in document["history"]]
        self.spent = document.get("spent", {})

    def _scalar(self, name: str, value: float, step: int) -> None:
        if self._writer and self.folder:
            with _writing(self.folder):
                # TensorBoard's thread would print a traceback of its own
                (self.folder / LOG).stat()
                self._writer.add_scalar(name.replace(" ", "_"), value, step)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(
            f"cannot write the curves in {folder}: {error.strerror}; free some space, or choose a folder "
            f"that can be written to"
        ) from error
