"""One random subnet per step, or always the same one."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from supernet.errors import ConfigError
from supernet.space import Architecture, SearchSpace
from supernet.strategies.strategy import Lesson, strategies


@strategies.register("single_path")
@dataclass(frozen=True)
class SinglePath:
    """Uniformly random architectures, each learning from the labels.

    Source: Guo et al., Single Path One-Shot, arXiv:1904.00420. Uniform over genes; the published code
    is uniform over bins of FLOPs.

    Args:
        paths: architectures per step.

    Raises:
        ConfigError: when there is no path.
    """

    paths: int = 1

    def __post_init__(self) -> None:
        if self.paths < 1:
            raise ConfigError(f"paths is {self.paths}; it can be 1 or more")

    def lessons(self, space: SearchSpace, step: int, rng: Random) -> list[Lesson]:
        """So many independent samples."""
        return [Lesson(space.sample(rng)) for _ in range(self.paths)]


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

    def lessons(self, space: SearchSpace, step: int, rng: Random) -> list[Lesson]:
        """The same lesson, always."""
        arch: Architecture = space.architecture(self.genes) if self.genes else space.largest()
        return [Lesson(arch)]
