"""How much hypervolume networks would add, and the batch that adds most: the heart of the guided search.

Picked by rank instead, a batch crowds where the model is most hopeful: .82 of the reference after 250 evaluations on
the OFA benchmark, against .98.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
from numpy.typing import NDArray

from search.objective import Values

NOTHING = 1e-9
"""A share of the box below which a gain counts as none."""


@dataclass(frozen=True)
class View:
    """Candidates as one front sees them, with smaller better and volume counted up to the origin of a box of one.

    Args:
        front: what is there already ``(points, objectives)``.
        losses: of the candidates ``(candidates, objectives)``.
    """

    front: Values
    losses: Values

    @classmethod
    def of(cls, front: Values, losses: Values, reference: Values) -> View:
        """Losses in their own units, up to a reference point ``(objectives,)``."""
        best = np.minimum(front.min(axis=0), losses.min(axis=0))
        scale = np.maximum(reference - best, 1e-300)
        return cls((front - reference) / scale, (losses - reference) / scale)

    def gains(self, rows: NDArray[np.intp]) -> Values:
        """What each candidate alone would add ``(rows,)``."""
        if self.losses.shape[1] == 2:
            return strips(self.front, self.losses[rows])
        origin = np.zeros(self.losses.shape[1])
        covered = volume(self.front, origin)
        grown = [volume(np.concatenate([self.front, self.losses[row : row + 1]]), origin) for row in rows]
        return np.array(grown) - covered

    def with_row(self, row: int) -> View:
        """The same once a candidate is on the front."""
        return View(np.concatenate([self.front, self.losses[row : row + 1]]), self.losses)


def greedy(views: Sequence[View], count: int) -> list[int]:
    """Candidates that add most hypervolume, summed over views, one after the other; fewer when none adds any.

    A gain only ever shrinks as others are chosen. So candidates that add nothing are not looked at again, and where a
    gain is dear to know an old one serves as a bound on the new one.
    """
    if all(view.losses.shape[1] == 2 for view in views):
        return _all_at_once(list(views), count)
    return _by_priority(list(views), count)


def _all_at_once(views: list[View], count: int) -> list[int]:
    chosen: list[int] = []
    open_ = np.arange(len(views[0].losses))
    while len(chosen) < count and len(open_):
        gain = np.sum([view.gains(open_) for view in views], axis=0)
        best = int(np.argmax(gain))
        if gain[best] <= NOTHING:
            break
        chosen.append(int(open_[best]))
        views = [view.with_row(chosen[-1]) for view in views]
        open_ = open_[gain > NOTHING]
    return chosen


def _by_priority(views: list[View], count: int) -> list[int]:
    rows = np.arange(len(views[0].losses))
    gain = np.sum([view.gains(rows) for view in views], axis=0)
    queue = [(-float(gain[row]), int(row), 0) for row in rows]
    heapq.heapify(queue)
    chosen: list[int] = []
    while queue and len(chosen) < count and -queue[0][0] > NOTHING:
        _, row, age = heapq.heappop(queue)
        if age == len(chosen):
            chosen.append(row)
            views = [view.with_row(row) for view in views]
        else:
            now = sum(float(view.gains(np.array([row]))[0]) for view in views)
            heapq.heappush(queue, (-now, row, len(chosen)))
    return chosen


def strips(front: Values, losses: Values) -> Values:
    """What each of ``losses (candidates, 2)`` alone would add to ``front (points, 2)``, up to the origin.

    The area above and right of the front falls into upright strips between neighbouring points; a
    candidate cuts a rectangle out of each.
    """
    inside = front[(front < 0).all(axis=1)]
    stairs = moocore.filter_dominated(inside) if len(inside) else inside
    stairs = stairs[np.argsort(stairs[:, 0])]
    left, right = np.r_[-np.inf, stairs[:, 0]], np.r_[stairs[:, 0], 0.0]
    top = np.r_[0.0, stairs[:, 1]]
    width = np.clip(right - np.maximum(left, losses[:, :1]), 0.0, None)
    return np.asarray((width * np.clip(top - losses[:, 1:], 0.0, None)).sum(axis=1), dtype=np.float64)


def volume(points: Values, reference: Values) -> float:
    """What losses ``(points, objectives)`` dominate up to a reference point."""
    inside: NDArray[np.float64] = points[(points < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    if inside.shape[1] == 1:
        return float((reference - inside).max())
    return float(moocore.hypervolume(inside, ref=reference))
