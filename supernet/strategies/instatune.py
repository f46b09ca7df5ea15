"""A supernet made while a pretrained network is fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.options import within
from supernet.strategies.strategy import Context, Lesson, strategies


@strategies.register("instatune")
@dataclass(frozen=True)
class InstaTune:
    """Fine-tune a pretrained network, and its subnets with it: the largest learns as it would alone, and teaches.

    Source: Sridhar et al., InstaTune, arXiv:2308.15609. Only the largest is regularised and moves the running
    statistics, so that these stay those of the network one began with.

    Args:
        between: random architectures per step, beside the smallest one.
        apart: share of the steps, at first, in which only the largest learns.

    Raises:
        ConfigError: for a number that makes no sense.
    """

    between: int = 1
    apart: float = 0.1

    def __post_init__(self) -> None:
        within("between", self.between, 0)
        within("apart", self.apart, 0.0, 1.0)

    def lessons(self, context: Context) -> list[Lesson]:
        """Largest first, then, when it is time, the random ones and the smallest."""
        space = context.space
        largest = Lesson(space.largest())
        if context.step < self.apart * context.steps:
            return [largest]
        others = [space.sample(context.rng) for _ in range(self.between)] + [space.smallest()]
        pupils = (Lesson(arch, teacher=0, moves_statistics=False, regularised=False) for arch in others)
        return [largest, *pupils]
