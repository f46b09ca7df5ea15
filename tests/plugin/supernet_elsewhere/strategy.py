"""A training strategy: the two ends take turns."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from supernet.space import SearchSpace
from supernet.strategies import Lesson


@dataclass(frozen=True)
class Ends:
    """The largest in even steps, the smallest in odd ones."""

    def lessons(self, space: SearchSpace, step: int, rng: Random) -> list[Lesson]:
        """One lesson."""
        return [Lesson(space.smallest() if step % 2 else space.largest())]
