"""A sandwich with a teacher who minds being over- and underestimated."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.options import within
from supernet.strategies.strategy import Context, Lesson, strategies


@strategies.register("alpha")
@dataclass(frozen=True)
class Alpha:
    """A sandwich whose pupils learn by the adaptive, clipped alpha-divergence. Only the largest is regularised.

    Source: Wang et al., AlphaNet, arXiv:2102.07954. There the pupils learn from the teacher alone, from the first
    step on; here the recipe decides, and ``distil_weight = 1``, ``distil_after = 0`` is theirs.

    Args:
        between: random architectures per step.
        low: one alpha, which minds a pupil that is surer than its teacher.
        high: the other, which minds one that is less sure.
        clip: bound on the importance weights.

    Raises:
        ConfigError: for a number that makes no sense.
    """

    between: int = 2
    low: float = -1.0
    high: float = 1.0
    clip: float = 5.0

    def __post_init__(self) -> None:
        within("between", self.between, 0)
        within("clip", self.clip, 0.0)
        within("low", self.low, -10.0, -0.01)
        within("high", self.high, 0.01, 10.0)

    def lessons(self, context: Context) -> list[Lesson]:
        """Largest first, then the random ones, then the smallest."""
        from supernet.losses import AlphaDivergence

        space, distance = context.space, AlphaDivergence((self.low, self.high), self.clip)
        others = [space.sample(context.rng) for _ in range(self.between)] + [space.smallest()]
        pupils = (Lesson(arch, teacher=0, distance=distance, regularised=False) for arch in others)
        return [Lesson(space.largest()), *pupils]
