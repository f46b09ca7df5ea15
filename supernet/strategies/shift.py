"""More lessons where they still help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from supernet.options import within
from supernet.strategies.macs import bin_of, in_bin
from supernet.strategies.strategy import Context, Lesson, strategies


@strategies.register("shift")
@dataclass(frozen=True)
class Shift:
    """Random architectures, more often of those costs whose losses still fall.

    Source: Zhang et al., ShiftNAS, arXiv:2307.08300, which shifts the chances of each complexity by how much
    its performance varies. Here that is the loss of a bin of multiply-adds: a slow mean of it less a fast one,
    as a share of the slow one.

    Args:
        bins: of multiply-adds, from the smallest to the largest.
        paths: architectures per step.
        uniform: share of the chances that all bins have alike.
        memory: lessons of a bin that its slow mean looks back on; the fast one on a quarter of them.

    Raises:
        ConfigError: for a number that makes no sense.
    """

    bins: int = 8
    paths: int = 1
    uniform: float = 0.25
    memory: int = 40

    def __post_init__(self) -> None:
        within("bins", self.bins, 1)
        within("paths", self.paths, 1)
        within("uniform", self.uniform, 0.0, 1.0)
        within("memory", self.memory, 4)

    def lessons(self, context: Context) -> list[Lesson]:
        """So many architectures, each of a bin drawn anew."""
        bins = context.rng.choices(range(self.bins), self.chances(context.state), k=self.paths)
        return [Lesson(in_bin(context, i, self.bins)) for i in bins]

    def observe(self, context: Context, lessons: Sequence[Lesson], losses: Sequence[float]) -> None:
        """Move the two means of each bin that learnt."""
        for lesson, loss in zip(lessons, losses):
            means = context.state.setdefault(str(bin_of(context, lesson.arch, self.bins)), [loss, loss])
            for i, memory in enumerate((self.memory, self.memory / 4)):
                means[i] += (loss - means[i]) / memory

    def chances(self, state: dict[str, Any]) -> list[float]:
        """How likely each bin is; all alike as long as no loss falls, or one was never seen."""
        falls = [self._fall(*state.get(str(i), (1.0, 1.0))) for i in range(self.bins)]
        if len(state) < self.bins or sum(falls) == 0:
            return [1 / self.bins] * self.bins
        return [self.uniform / self.bins + (1 - self.uniform) * fall / sum(falls) for fall in falls]

    def _fall(self, slow: float, fast: float) -> float:
        return max(slow - fast, 0.0) / slow if slow > 0 else 0.0
