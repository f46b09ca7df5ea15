"""Scoring networks in the order of their price, each at most once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from search.archive import Archive, Evaluation
from search.objective import Objective, Values, violation
from supernet.space import Genes, SearchSpace

Progress = Callable[[int, int], None]
"""Called with the networks evaluated so far and the most there will be."""


class Scorer:
    """Answers with the values of genomes: from the archive where it knows them, else by scoring.

    What this run has seen is kept apart from what the archive holds, because a resumed run must walk
    the same path as an undisturbed one, and that one had not seen its own future.

    Args:
        budget: networks to pay for, at most; a recorded one counts like a new one.
        batch: networks handed to an expensive score at once, and recorded right after.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        archive: Archive,
        *,
        budget: int,
        batch: int = 8,
        progress: Progress | None = None,
    ) -> None:
        self.space, self.objectives, self.archive = space, tuple(objectives), archive
        self.budget, self.batch, self.progress = budget, batch, progress
        self.seen: dict[tuple[int, ...], Values] = {}
        self.paid = 0
        self.scored = 0
        self._cheap = [i for i, o in enumerate(self.objectives) if o.cheap]
        self._dear = [i for i, o in enumerate(self.objectives) if not o.cheap]

    @property
    def left(self) -> int:
        """How many networks can still be paid for."""
        return self.budget - self.paid

    def unseen(self, genes: Genes) -> NDArray[np.bool_]:
        """Which rows of canonical genomes this run has not seen; of equal rows the first."""
        here: set[tuple[int, ...]] = set()
        fresh = np.zeros(len(genes), dtype=np.bool_)
        for i, row in enumerate(map(tuple, genes.tolist())):
            fresh[i] = row not in here and row not in self.seen
            here.add(row)
        return fresh

    def __call__(self, genes: Genes) -> tuple[NDArray[np.bool_], Values]:
        """Values of canonical genomes nobody has seen, as far as the budget goes.

        Returns:
            Which rows were evaluated, and their values ``(evaluated, objectives)``; NaN in the expensive
            columns of a network beyond a cheap limit.
        """
        keys = [tuple(row) for row in genes.tolist()]
        values = np.stack([self.archive.row(key) for key in keys])
        before = values.copy()
        self._score(keys, values, np.arange(len(keys)), self._cheap)
        worth = np.flatnonzero((violation(self._limits(), values[:, self._cheap]) == 0).all(axis=1))
        kept = np.ones(len(keys), dtype=np.bool_)
        kept[worth[self.left :]] = False
        worth = worth[: self.left]
        hopeless = np.setdiff1d(np.flatnonzero(kept), worth)
        self._record(keys, values, before, hopeless)
        for start in range(0, len(worth), self.batch):
            rows = worth[start : start + self.batch]
            self.scored += int(np.isnan(values[rows][:, self._dear]).any(axis=1).sum())
            self._score(keys, values, rows, self._dear)
            self._record(keys, values, before, rows)
            self.paid += len(rows)
            if self.progress is not None:
                self.progress(self.paid, self.budget)
        self.archive.sync()
        self.seen.update((keys[i], values[i]) for i in np.flatnonzero(kept))
        return kept, values[kept]

    def evaluations(self) -> list[Evaluation]:
        """What this run has seen, in the order it saw it."""
        return [self.archive.evaluation(genes) for genes in self.seen]

    def matrix(self) -> Values:
        """The values this run has seen ``(architectures, objectives)``."""
        return np.array(list(self.seen.values()), dtype=np.float64).reshape(-1, len(self.objectives))

    def _limits(self) -> list[Objective]:
        return [self.objectives[i] for i in self._cheap]

    def _score(
        self, keys: Sequence[tuple[int, ...]], values: Values, rows: NDArray[np.intp], columns: Sequence[int]
    ) -> None:
        for column in columns:
            missing = [int(i) for i in rows if np.isnan(values[i, column])]
            if missing:
                genes = np.array([keys[i] for i in missing], dtype=np.int64)
                values[missing, column] = self.objectives[column](genes)

    def _record(
        self, keys: Sequence[tuple[int, ...]], values: Values, before: Values, rows: NDArray[np.intp]
    ) -> None:
        for i in rows:
            if not np.array_equal(values[i], before[i], equal_nan=True):
                self.archive.record(keys[i], values[i])
