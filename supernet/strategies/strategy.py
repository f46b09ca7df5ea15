"""What a training strategy is: it sees a training at one step and deals out the lessons of that step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from supernet.errors import ConversionError
from supernet.registry import Registry
from supernet.space import Architecture, Genes, SearchSpace

if TYPE_CHECKING:
    from supernet.losses import Distance


@dataclass(frozen=True)
class Lesson:
    """One subnet that learns in a step.

    Args:
        arch: which.
        teacher: position, among the earlier lessons of the same step, of the one whose answers it
            learns from as well; None for labels only. Both have to see the same part of the batch.
        weight: of its loss within the step.
        distance: how far it is from its teacher; None for the divergence of the task.
        moves_statistics: whether the running statistics of the shared network follow this lesson.
        regularised: whether dropout and stochastic depth are in force.
        part: ``(i, n)`` for the ``i``-th of ``n`` equal parts of the batch; all of it by default.
    """

    arch: Architecture
    teacher: int | None = None
    weight: float = 1.0
    distance: Distance | None = None
    moves_statistics: bool = True
    regularised: bool = True
    part: tuple[int, int] = (0, 1)


def _unknown(_: Any) -> Any:
    raise ConversionError("this strategy asks for costs or losses, and whoever called it knows none")


@dataclass(frozen=True)
class Context:
    """What a strategy sees of a training at one step.

    Args:
        space: what can be chosen.
        step: counted from the start of the training; anew where one was made longer, as the schedule does.
        steps: of the whole training, or of what it was made longer by.
        rng: the only source of chance, made anew for every step.
        epochs: passes over the data in as many steps.
        kinds: what each choice sets, e.g. ``{"blocks.1.kernel": {"kernel"}}``, see `Plan.kinds`.
        state: what the strategy keeps from step to step, empty at first: plain JSON values with strings for
            keys, changed in place. It travels with the checkpoint.
        macs: exact multiply-adds of genomes ``(architectures, choices)``, shape ``(architectures,)``.
        loss: of one architecture on the batch of this step, before anything is learnt from it.
        saliency: how much the weights of one architecture matter to that loss: the sum of \\|weight times
            gradient\\|.
    """

    space: SearchSpace
    step: int
    steps: int
    rng: Random
    epochs: int = 1
    kinds: Mapping[str, frozenset[str]] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    macs: Callable[[Genes], Genes] = _unknown
    loss: Callable[[Architecture], float] = _unknown
    saliency: Callable[[Architecture], float] = _unknown


class Strategy(Protocol):
    """Which subnets learn what, step by step. It is a value: what it remembers is in the context."""

    def lessons(self, context: Context) -> list[Lesson]:
        """The lessons of one step, at least one; a teacher comes before whom it teaches."""


@runtime_checkable
class Observer(Protocol):
    """A strategy that learns from how its lessons went."""

    def observe(self, context: Context, lessons: Sequence[Lesson], losses: Sequence[float]) -> None:
        """Note the losses of the lessons in ``context.state``, once the step is done."""


@dataclass(frozen=True)
class Sort:
    """The units of a network are put in the order of what they are worth.

    Args:
        by: the measure.
        trained: of every choice, how many of its largest values have been trained; these subnets stay the same
            functions, see `supernet.elastic.reorder.sort_units`.
    """

    by: Literal["taylor", "l1", "l2"] = "taylor"
    trained: int = 1


@runtime_checkable
class Sorter(Protocol):
    """A strategy that has the units sorted anew at some of its steps."""

    def sorts(self, context: Context) -> Sort | None:
        """How they are sorted before the lessons of this step; None leaves them as they are."""


strategies: Registry[Callable[..., Strategy]] = Registry(
    "training strategy",
    modules=tuple(
        f"supernet.strategies.{name}"
        for name in (
            "sandwich",
            "single_path",
            "fair",
            "attentive",
            "alpha",
            "shrinking",
            "nested",
            "multi",
            "shift",
            "preferred",
            "instatune",
        )
    ),
    group="supernet.strategies",
)
"""Strategies by name; each is a fixed dataclass whose fields are its options."""
