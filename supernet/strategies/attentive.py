"""Attention to the best or the worst of a few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from supernet.options import within
from supernet.space import Architecture
from supernet.strategies.macs import in_bin
from supernet.strategies.strategy import Context, Lesson, strategies


@strategies.register("attentive")
@dataclass(frozen=True)
class Attentive:
    """A sandwich whose middle is the best, or the worst, of a few candidates of about the same cost.

    Source: Wang et al., AttentiveNAS, arXiv:2011.09011: a bin of multiply-adds is drawn, then candidates in it,
    and the one of least loss on the batch of this step learns (*best-up*; of most loss: *worst-up*). Only the
    largest is regularised. The published prior is a table of bins for one space; here the bins are equally likely.

    Args:
        between: architectures per step that are chosen so.
        candidates: that each is chosen from; each costs one forward pass.
        select: ``best`` or ``worst``.
        bins: of multiply-adds, from the smallest to the largest.

    Raises:
        ConfigError: for a number that makes no sense.
    """

    between: int = 2
    candidates: int = 3
    select: Literal["best", "worst"] = "best"
    bins: int = 16

    def __post_init__(self) -> None:
        within("between", self.between, 0)
        within("candidates", self.candidates, 1)
        within("bins", self.bins, 1)

    def lessons(self, context: Context) -> list[Lesson]:
        """Largest first, then the chosen ones, then the smallest."""
        space = context.space
        others = [self._chosen(context) for _ in range(self.between)] + [space.smallest()]
        return [Lesson(space.largest()), *(Lesson(arch, teacher=0, regularised=False) for arch in others)]

    def _chosen(self, context: Context) -> Architecture:
        i = context.rng.randrange(self.bins)
        candidates = [in_bin(context, i, self.bins) for _ in range(self.candidates)]
        choose = min if self.select == "best" else max
        return choose(candidates, key=context.loss)
