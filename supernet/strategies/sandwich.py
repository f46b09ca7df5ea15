"""The sandwich rule."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.options import within
from supernet.strategies.strategy import Context, Lesson, strategies


@strategies.register("sandwich")
@dataclass(frozen=True)
class Sandwich:
    """Largest, smallest and a few in between; the largest teaches the others.

    Source: Yu and Huang, arXiv:1903.05134; at scale in BigNAS, arXiv:2003.11142.

    Args:
        between: random architectures per step. BigNAS draws two; one makes networks that are as good, in a quarter
            less time (docs/benchmarks.md, fidelity).

    Raises:
        ConfigError: when ``between`` is negative.
    """

    between: int = 1

    def __post_init__(self) -> None:
        within("between", self.between, 0)

    def lessons(self, context: Context) -> list[Lesson]:
        """Largest first, then the random ones, then the smallest."""
        space = context.space
        others = [space.sample(context.rng) for _ in range(self.between)] + [space.smallest()]
        return [Lesson(space.largest()), *(Lesson(arch, teacher=0) for arch in others)]
