"""How the fronts of a search grow: the hypervolume after every network that it learned of.

The box in which volume is counted comes from the first networks: from the best of each objective to a little beyond the
worst, or to the limit where there is one. So a curve can be drawn while the search runs, and none of its points moves
when more is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from search.archive import Evaluations
from search.evolution import Aim, Scored, fronts, joined, scored
from search.front import matrix
from search.gain import volume
from search.objective import Objective, Values
from supernet.space import Genes

FIRST = 20
"""Networks that the box comes from."""
MARGIN = 0.1
"""How far the box reaches beyond the worst, over the range of the first networks."""


@dataclass(frozen=True)
class Box:
    """Where the volume of one front is counted, with smaller better ``(objectives,)``.

    Args:
        best: where it begins; what is better still counts for more.
        worst: where it ends.
    """

    best: Values
    worst: Values

    def share(self, front: Values) -> float:
        """What a front ``(points, objectives)`` dominates of it."""
        return volume(front, self.worst) / float(np.prod(self.worst - self.best))


class Growth:
    """The hypervolume of every front after each network, as a share of its box.

    Args:
        objectives: of the search.
        boxes: those of another search, to be compared with it; made of the first networks when left out.
        first: how many these are.
    """

    def __init__(
        self, objectives: Sequence[Objective], boxes: Sequence[Box] = (), first: int = FIRST
    ) -> None:
        self._objectives, self._aims, self._first = tuple(objectives), fronts(objectives), first
        self._boxes, self._unseen = list(boxes), list[tuple[Genes, Values]]()
        self._fronts: list[Values] = []
        self._shares = np.zeros((0, len(self._aims)))

    def learn(self, genes: Genes, values: Values) -> None:
        """Take note of networks, in the order in which they were learned.

        Args:
            values: in natural units ``(networks, objectives)``, NaN where an evaluation failed.
        """
        if len(genes):
            self._unseen.append((genes, values))

    @property
    def shares(self) -> Values:
        """After each network ``(networks, fronts)``; none before there is a box. A failed evaluation adds nothing."""
        unseen = sum(len(genes) for genes, _ in self._unseen)
        if unseen and (self._boxes or unseen >= self._first):
            found = joined([scored(self._objectives, *part) for part in self._unseen])
            self._boxes = self._boxes or self._boxes_of(found)
            grown = [self._grown(place, found.of(aim)) for place, aim in enumerate(self._aims)]
            self._shares = np.concatenate([self._shares, np.stack(grown, axis=1)])
            self._unseen = []
        return self._shares

    @property
    def boxes(self) -> list[Box]:
        """Of the fronts; none before there are networks enough."""
        return self._boxes if len(self.shares) else []

    def grown(self, networks: int) -> float:
        """By what share of itself the volume grew with the last so many networks; infinite before there are more."""
        total = self.shares.sum(axis=1)
        if len(total) <= networks or not total[-1]:
            return inf
        return float(1 - total[-1 - networks] / total[-1])

    def _grown(self, place: int, found: Scored) -> Values:
        """The share of one front after each of some networks."""
        if len(self._fronts) == place:
            self._fronts.append(found.losses[:0])
        share = float(self._shares[-1, place]) if len(self._shares) else 0.0
        shares = []
        for loss, beyond in zip(found.losses, found.beyond):
            front = self._fronts[place]
            if np.isfinite(loss).all() and beyond <= 0 and not (front <= loss).all(axis=1).any():
                front = np.concatenate([front[~(loss <= front).all(axis=1)], loss[None]])
                self._fronts[place], share = front, self._boxes[place].share(front)
            shares.append(share)
        return np.array(shares)

    def _boxes_of(self, found: Scored) -> list[Box]:
        """From the best of the first networks to a little beyond the worst, or to the limit."""
        first = found.rows(np.arange(len(found)) < self._first)
        return [_box(first.of(aim).losses, self._limits(aim)) for aim in self._aims]

    def _limits(self, aim: Aim) -> Values:
        """The limits of a front, with smaller better; infinite where there is none."""
        optimised = [objective for objective in self._objectives if objective.optimise]
        chosen = [optimised[i] for i in aim.columns]
        return np.array([inf if o.limit is None else o.sign * o.limit for o in chosen])


def growth_of(seen: Evaluations, objectives: Sequence[Objective], boxes: Sequence[Box] = ()) -> Growth:
    """That of a search that is over; the box is made of what there is, be it less than usual."""
    found = Growth(objectives, boxes, min(FIRST, len(seen)))
    found.learn(seen.genes, matrix(seen, objectives))
    return found


def _box(losses: Values, limits: Values) -> Box:
    known = losses[np.isfinite(losses).all(axis=1)]
    best, most = (known.min(axis=0), known.max(axis=0)) if len(known) else (np.zeros(len(limits)),) * 2
    span = np.minimum(most, limits) - best
    return Box(best, best + (1 + MARGIN) * np.where(span > 0, span, 1.0))
