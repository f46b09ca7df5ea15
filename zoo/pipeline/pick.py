"""Which of the evaluated networks are to be proven where none is named: three of the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.archive import Evaluation
from search.front import choose, front
from search.objective import Objective
from supernet.space import Architecture
from zoo.pipeline.profiling import Profiled
from zoo.pipeline.searching import evaluations, objectives
from zoo.pipeline.workspace import Workspace


@dataclass(frozen=True)
class Picked:
    """Networks to prove.

    Args:
        archs: each under the name it is to have; one may have two.
        remark: what a person should know of the choice; often nothing.
    """

    archs: Mapping[str, Architecture]
    remark: str = ""


def pick(workspace: Workspace, known: Profiled) -> Picked:
    """The fastest, the knee and the best of a device's front, of all that was evaluated.

    Raises:
        InfeasibleError: when no evaluated network is within the limits.
        StateError: when there was no search yet.
    """
    evaluated, goals = evaluations(workspace, [known]), objectives(workspace, [known])
    return picked(workspace, known, front(evaluated, goals), goals)


def picked(
    workspace: Workspace, known: Profiled, best: Sequence[Evaluation], goals: Sequence[Objective]
) -> Picked:
    """The fastest, the knee and the best of a device's front.

    Raises:
        InfeasibleError: when the front is empty.
    """
    chosen = choose(best, goals, cost=known.latency, gain=workspace.quality.name)
    return Picked({name: evaluation.arch for name, evaluation in chosen.items()}, chosen.remark)
