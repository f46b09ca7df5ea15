"""A few nested subnets, and no others."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.options import within
from supernet.space import Architecture, SearchSpace
from supernet.strategies.strategy import Context, Lesson, strategies


@strategies.register("nested")
@dataclass(frozen=True)
class Nested:
    """Subnets that lie in each other like Russian dolls, a few of them at random in every step.

    Source: Devvrit et al., MatFormer, arXiv:2310.07707 (one granularity at random per step); Valipour et al.,
    SortedNet, arXiv:2309.00255 (sub-models in a fixed order, gradients of several added up).

    Args:
        levels: how many there are, from the smallest to the largest; every choice grows with the level.
        per_step: different ones that learn in a step, from the labels.

    Raises:
        ConfigError: for a number that makes no sense.
    """

    levels: int = 4
    per_step: int = 1

    def __post_init__(self) -> None:
        within("levels", self.levels, 2)
        within("per_step", self.per_step, 1, self.levels)

    def lessons(self, context: Context) -> list[Lesson]:
        """Of so many levels, no two alike."""
        drawn = context.rng.sample(range(self.levels), self.per_step)
        return [Lesson(self.level(context.space, i)) for i in drawn]

    def level(self, space: SearchSpace, i: int) -> Architecture:
        """The architecture of one level: every gene in proportion, rounded to the nearest."""
        tops = (len(choice.values) - 1 for choice in space.choices)
        return space.architecture(
            [(2 * i * top + self.levels - 1) // (2 * (self.levels - 1)) for top in tops]
        )
