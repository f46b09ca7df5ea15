"""The non-dominated part of what was evaluated, how much it covers, and three points to pick from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np

from search.archive import Evaluation, Evaluations
from search.gain import volume
from search.objective import InfeasibleError, Objective, Values, feasible, losses
from supernet.errors import ConfigError, did_you_mean


def matrix(evaluations: Sequence[Evaluation], objectives: Sequence[Objective]) -> Values:
    """Their values in natural units ``(evaluations, objectives)``."""
    if isinstance(evaluations, Evaluations):
        return evaluations.values[:, _columns(evaluations, objectives)]
    rows = [[evaluation.values[objective.name] for objective in objectives] for evaluation in evaluations]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(objectives))


def held(evaluations: Sequence[Evaluation], objectives: Sequence[Objective]) -> Values:
    """What limits are held by ``(evaluations, objectives)``: values, and bounds where a value is predicted."""
    if isinstance(evaluations, Evaluations):
        return evaluations.held[:, _columns(evaluations, objectives)]
    rows = [[e.bounds.get(o.name, e.values[o.name]) for o in objectives] for e in evaluations]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(objectives))


def _columns(evaluations: Evaluations, objectives: Sequence[Objective]) -> list[int]:
    names = [objective.name for objective in evaluations.objectives]
    return [names.index(objective.name) for objective in objectives]


def standing(evaluation: Evaluation, objectives: Sequence[Objective]) -> dict[str, str]:
    """Of every limit, by the name of its objective, whether and by what it is held.

    Returns:
        ``"not"`` where it is not held, else ``"measured"``, ``"exact"`` or ``"predicted"``.
    """
    limited = [o for o in objectives if o.limit is not None]
    within = held([evaluation], limited)[0]
    words = {"evaluated": "measured"}
    return {
        o.name: words.get(o.source, o.source) if o.excess(within[i : i + 1])[0] <= 0 else "not"
        for i, o in enumerate(limited)
    }


def front(evaluations: Sequence[Evaluation], objectives: Sequence[Objective]) -> list[Evaluation]:
    """Those within every limit that no other beats in all optimised objectives.

    Sorted by the objectives that are to be small, then the others, then genes: the same in every process.
    """
    values = matrix(evaluations, objectives)
    within = np.flatnonzero(feasible(objectives, held(evaluations, objectives)))
    if not len(within):
        return []
    loss = losses(objectives, values[within])
    best = np.flatnonzero(moocore.is_nondominated(loss, keep_weakly=True))
    order = sorted(range(len(objectives)), key=lambda i: objectives[i].sense != "min")
    rows = within[best]
    found = (
        evaluations.at(rows) if isinstance(evaluations, Evaluations) else [evaluations[row] for row in rows]
    )

    def key(place: int) -> tuple[object, ...]:
        """What a point is sorted by."""
        row = rows[place]
        return (*(objectives[i].sign * values[row, i] for i in order), found[place].arch.genes)

    return [found[place] for place in sorted(range(len(rows)), key=key)]


def hypervolume(
    evaluations: Sequence[Evaluation], objectives: Sequence[Objective], reference: Sequence[float]
) -> float:
    """What the front dominates up to a reference point, in the product of the objectives' units.

    Args:
        reference: one bad value per optimised objective, in natural units.

    Raises:
        ConfigError: when the reference has another number of values.
    """
    optimised = [objective for objective in objectives if objective.optimise]
    if len(reference) != len(optimised):
        names = [objective.name for objective in optimised]
        raise ConfigError(
            f"a reference of {len(reference)} values was given for {len(optimised)} objectives: {names}"
        )
    chosen = front(evaluations, objectives)
    if not chosen:
        return 0.0
    point = np.array([objective.sign * value for objective, value in zip(optimised, reference)])
    return volume(losses(objectives, matrix(chosen, objectives)), point)


@dataclass(frozen=True)
class Chosen:
    """Three points of a front, which differ as far as there are three.

    Args:
        remark: what a person should know of them, such as a front that has no knee; often nothing.
    """

    fastest: Evaluation
    knee: Evaluation
    best: Evaluation
    remark: str = ""

    def items(self) -> list[tuple[str, Evaluation]]:
        """Name and point, from the cheapest to the best."""
        return [("fastest", self.fastest), ("knee", self.knee), ("best", self.best)]


def choose(points: Sequence[Evaluation], objectives: Sequence[Objective], *, cost: str, gain: str) -> Chosen:
    """The fastest, the knee and the best point.

    The knee is the point farthest from the straight line between the two ends, with both axes scaled to
    the range of the front: beyond it, a further point of accuracy costs more than the average one. Where
    that is one of the ends, the next one takes its place, and the remark says so.

    Args:
        points: a front.
        cost: the objective that is to be small, for example latency.
        gain: the objective that says how good a network is, for example accuracy.

    Raises:
        InfeasibleError: when there is no point.
        ConfigError: for a name that is no objective.
    """
    known = {objective.name: objective for objective in objectives}
    for name in (cost, gain):
        if name not in known:
            raise ConfigError(f"no objective is called {name!r}{did_you_mean(name, known)}")
    if not points:
        raise InfeasibleError("nothing can be chosen from an empty front; loosen the limits or evaluate more")
    axes = [known[cost], known[gain]]
    line = front(points, axes)
    fastest, best = line[0], line[-1]
    # beside the front in these two, those that are on it for the sake of another objective
    between = line[1:-1] or [point for point in points if point not in (fastest, best)]
    values = losses(axes, matrix([fastest, best, *between], axes))
    span = np.ptp(values[:2], axis=0)
    far = ((values - values[:2].min(axis=0)) / np.where(span > 0, span, 1.0)).sum(axis=1)
    knee = between[int(np.argmin(far[2:]))] if between else fastest
    bends = len(line) > 2 and far[2:].min() <= far[:2].min()
    return Chosen(fastest, knee, best, "" if bends else _remark(fastest, knee, best))


def _remark(fastest: Evaluation, knee: Evaluation, best: Evaluation) -> str:
    """Why there is no knee."""
    if fastest.arch == knee.arch == best.arch:
        return "the front is one network: it is the fastest, the knee and the best"
    if fastest.arch == knee.arch:
        return "the front is two networks: the fastest is the knee too"
    if fastest.arch == best.arch:
        return "the fastest network is the best too; the one called the knee is the next on the front"
    return "the front has no knee: the network called so is the next after the ends"
