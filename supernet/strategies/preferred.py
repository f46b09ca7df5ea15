"""Only architectures that promise something."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.options import within
from supernet.space import Architecture
from supernet.strategies.macs import in_bin
from supernet.strategies.strategy import Context, Lesson, strategies


@strategies.register("preferred")
@dataclass(frozen=True)
class Preferred:
    """A score that needs no training picks a few architectures of every cost; only they learn.

    Source: Wang et al., PreNAS, arXiv:2304.14636. The score is the saliency of the weights in use on the first batch.

    Args:
        bins: of multiply-adds, from the smallest to the largest.
        candidates: in each bin; each costs one forward and one backward pass, once.
        kept: of them, those of highest score.
        paths: architectures per step.

    Raises:
        ConfigError: for a number that makes no sense.
    """

    bins: int = 4
    candidates: int = 8
    kept: int = 2
    paths: int = 1

    def __post_init__(self) -> None:
        within("bins", self.bins, 1)
        within("candidates", self.candidates, 1)
        within("kept", self.kept, 1, self.candidates)
        within("paths", self.paths, 1)

    def lessons(self, context: Context) -> list[Lesson]:
        """So many of the preferred ones, each as likely."""
        if "preferred" not in context.state:
            found = [arch for i in range(self.bins) for arch in self._best(context, i)]
            context.state["preferred"] = [list(arch.genes) for arch in dict.fromkeys(found)]
        drawn = [context.rng.choice(context.state["preferred"]) for _ in range(self.paths)]
        return [Lesson(context.space.architecture(genes)) for genes in drawn]

    def _best(self, context: Context, i: int) -> list[Architecture]:
        candidates = dict.fromkeys(in_bin(context, i, self.bins) for _ in range(self.candidates))
        return sorted(candidates, key=context.saliency, reverse=True)[: self.kept]
