"""What a training strategy is: it deals out the lessons of each step, and knows nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from supernet.registry import Registry
from supernet.space import Architecture, SearchSpace


@dataclass(frozen=True)
class Lesson:
    """One subnet that learns in a step.

    Args:
        arch: which.
        teacher: position, among the earlier lessons of the same step, of the one whose answers it
            learns from as well; None for labels only.
        weight: of its loss within the step.
    """

    arch: Architecture
    teacher: int | None = None
    weight: float = 1.0


class Strategy(Protocol):
    """Which subnets learn what, step by step."""

    def lessons(self, space: SearchSpace, step: int, rng: Random) -> list[Lesson]:
        """The lessons of one step, at least one; a teacher comes before whom it teaches.

        Args:
            step: counted from the start of the training.
            rng: the only source of chance, made anew for every step.
        """


strategies: Registry[Callable[..., Strategy]] = Registry(
    "training strategy",
    modules=("supernet.strategies.sandwich", "supernet.strategies.single_path"),
    group="supernet.strategies",
)
"""Strategies by name; each is a fixed dataclass whose fields are its options."""
