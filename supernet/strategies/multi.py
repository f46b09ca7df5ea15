"""Several architectures in one batch."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.options import within
from supernet.strategies.strategy import Context, Lesson, strategies


@strategies.register("multi")
@dataclass(frozen=True)
class MultiArchitecture:
    """Every step the batch is dealt out among a few random architectures: more of them, at the cost of one.

    Source: Liao et al., ViT-ResNAS, arXiv:2109.00642, multi-architectural sampling.

    Args:
        paths: architectures per step; a batch has to hold as many examples.

    Raises:
        ConfigError: when there is no path.
    """

    paths: int = 4

    def __post_init__(self) -> None:
        within("paths", self.paths, 1)

    def lessons(self, context: Context) -> list[Lesson]:
        """One lesson for each part of the batch; their weights add up to one."""
        drawn = [context.space.sample(context.rng) for _ in range(self.paths)]
        return [Lesson(arch, weight=1 / self.paths, part=(i, self.paths)) for i, arch in enumerate(drawn)]
