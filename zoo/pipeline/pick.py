"""Which of the evaluated networks are to be proven: those that were named, or three of the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.archive import Evaluation
from search.front import choose, front
from search.objective import Objective
from supernet.errors import ArchitectureError
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


def pick(workspace: Workspace, known: Profiled, ids: Sequence[str] = ()) -> Picked:
    """The evaluated networks of these ids, or the fastest, the knee and the best of a device's front.

    Raises:
        ArchitectureError: for an id no search of this run has evaluated.
        InfeasibleError: when no evaluated network is within the limits.
        StateError: when there was no search yet.
    """
    evaluated, goals = evaluations(workspace, [known]), objectives(workspace, [known])
    if not ids:
        return picked(workspace, known, front(evaluated, goals), goals)
    named = {evaluation.arch.id: evaluation.arch for evaluation in evaluated}
    for wanted in ids:
        if wanted not in named:
            best = [evaluation.arch.id for evaluation in front(evaluated, goals)]
            raise ArchitectureError(
                f"no network {wanted!r} was evaluated in this run; on the front are {', '.join(best)}"
            )
    return Picked({wanted: named[wanted] for wanted in ids})


def picked(
    workspace: Workspace, known: Profiled, best: Sequence[Evaluation], goals: Sequence[Objective]
) -> Picked:
    """The fastest, the knee and the best of a device's front.

    Raises:
        InfeasibleError: when the front is empty.
    """
    chosen = choose(best, goals, cost=known.latency, gain=workspace.quality.name)
    return Picked({name: evaluation.arch for name, evaluation in chosen.items()}, chosen.remark)
