"""One random subnet per step, or always the same one."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.options import within
from supernet.space import Architecture
from supernet.strategies.macs import in_bin
from supernet.strategies.strategy import Context, Lesson, strategies


@strategies.register("single_path")
@dataclass(frozen=True)
class SinglePath:
    """Uniformly random architectures, each learning from the labels.

    Source: Guo et al., Single Path One-Shot, arXiv:1904.00420. Uniform over genes, or as the published code
    over bins of multiply-adds; that code draws until one fits, here a drawn one is moved into its bin.

    Args:
        paths: architectures per step.
        bins: of multiply-adds from the smallest to the largest, each as likely; 0 is uniform over genes.

    Raises:
        ConfigError: when there is no path.
    """

    paths: int = 1
    bins: int = 0

    def __post_init__(self) -> None:
        within("paths", self.paths, 1)
        within("bins", self.bins, 0)

    def lessons(self, context: Context) -> list[Lesson]:
        """So many independent samples."""
        return [Lesson(self._sample(context)) for _ in range(self.paths)]

    def _sample(self, context: Context) -> Architecture:
        if self.bins:
            return in_bin(context, context.rng.randrange(self.bins), self.bins)
        return context.space.sample(context.rng)


@strategies.register("alone")
@dataclass(frozen=True)
class Standalone:
    """One architecture only: the baseline that a shared one is compared with.

    The rest of the supernet is never used and gets no gradient, so this trains the very network that
    `Supernet.extract` would cut out, with the same data, recipe and number of steps.

    Args:
        genes: of the architecture; empty for the largest one.
    """

    genes: tuple[int, ...] = ()

    def lessons(self, context: Context) -> list[Lesson]:
        """The same lesson, always."""
        space = context.space
        return [Lesson(space.architecture(self.genes) if self.genes else space.largest())]
