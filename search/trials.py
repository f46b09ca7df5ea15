"""Evaluating what was proposed: each network once, every value kept at once, and one failure costs one network."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence

import numpy as np

from search.archive import Archive, Evaluation, evaluations, stored
from search.objective import Objective, ShapeError, Values
from search.options import SearchOptions
from search.searcher import Known
from supernet.errors import SupernetError
from supernet.space import Genes
from supernet.wording import counted

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the networks evaluated so far and the most there will be."""


class Trials:
    """The evaluations of one search, and whatever else an archive knows.

    The budget counts the networks that searches with the same goals (objectives, senses, limits, what evaluated values
    depend on) have evaluated in this archive, whatever their seed or searcher; what others left is known for nothing.

    Attributes:
        scored: networks that were evaluated by this object.
        failed: networks of this search whose evaluation failed.
        batches: how many batches were proposed by now.
    """

    def __init__(
        self,
        archive: Archive,
        objectives: Sequence[Objective],
        options: SearchOptions,
        progress: Progress | None = None,
    ) -> None:
        self.archive, self.objectives, self.options, self.progress = (
            archive,
            tuple(objectives),
            options,
            progress,
        )
        self.scored = self.failed = self._spent = self._count = 0
        self._dear = [objective for objective in self.objectives if not objective.cheap]
        self._goals = goals(self.objectives)
        self._genes: list[Genes] = []
        self._values: list[Values] = []
        self._taken: set[bytes] = set()
        self._waiting = np.zeros((0, len(archive.space)), dtype=np.int64)
        self.batches = 0
        self._recall()

    @property
    def left(self) -> int:
        """How many networks may still be evaluated."""
        return max(self.options.evaluations - self._spent, 0)

    @property
    def waiting(self) -> Genes:
        """Networks that were proposed and are not evaluated yet, in order."""
        return self._waiting

    def known(self) -> Known:
        """All of it, for a searcher."""
        choices = len(self.archive.space)
        genes = np.concatenate([np.zeros((0, choices), dtype=np.int64), *self._genes])
        values = np.concatenate([np.zeros((0, len(self.objectives))), *self._values])
        self._genes, self._values = [genes], [values]
        return Known(genes, values, self._waiting, self._taken)

    def evaluations(self) -> list[Evaluation]:
        """Every network whose values are known: those of other searches first, then in the order evaluated."""
        known = self.known()
        return evaluations(self.archive.space, self.objectives, known.genes, known.values)

    def propose(self, genes: Genes, searcher: str) -> None:
        """Put networks in line; they stay there when the process is killed."""
        self.archive.propose(self._goals, genes, searcher=searcher, seed=self.options.seed, known=self._count)
        self._waiting = np.concatenate([self._waiting, genes])
        self._taken.update(stored(genes))
        self.batches += 1

    def evaluate(self) -> None:
        """Evaluate those in line, as far as the budget goes.

        Raises:
            SupernetError: when every evaluation so far has failed, or a score answers in the wrong shape.
        """
        rows, self._waiting = self._waiting[: self.left], self._waiting[self.left :]
        for start in range(0, len(rows), self.options.batch):
            part = rows[start : start + self.options.batch]
            self.scored += self._pay(part)
            self._spent += len(part)
            if self.progress is not None:
                self.progress(self._spent, self.options.evaluations)

    def _recall(self) -> None:
        """Take up what the archive knows: first what this search did not ask for, then its proposals in order."""
        batches = [proposed.genes for proposed in self.archive.proposals(self._goals)]
        self.batches = len(batches)
        mine = np.concatenate([self._waiting, *batches])
        own = stored(mine)
        columns = self._recalled = [self.archive.values(objective) for objective in self._dear]
        foreign = sorted(set().union(*columns) - set(own)) if columns else []
        whole = [key for key in foreign if all(key in column for column in columns)]
        self._keep(self.archive.genes(b"".join(whole)), columns)
        there = np.array([all(key in column for column in columns) for key in own], dtype=np.bool_)
        self.failed += self._keep(mine[there], columns)
        self._spent, self._waiting = int(there.sum()), mine[~there]
        self._taken |= set(own) | set(whole)

    def _keep(self, genes: Genes, columns: Sequence[dict[bytes, float]]) -> int:
        """Remember networks with all expensive values; returns how many of them had failed."""
        keys = stored(genes)
        dear = [np.array([column[key] for key in keys], dtype=np.float64) for column in columns]
        return self._learn(genes, dear)

    def _learn(self, genes: Genes, dear: Sequence[Values]) -> int:
        fine = np.ones(len(genes), dtype=np.bool_)
        for column in dear:
            fine &= np.isfinite(column)
        genes, rest = genes[fine], iter([column[fine] for column in dear])
        if len(genes):
            found = [o(genes) if o.cheap else next(rest) for o in self.objectives]
            self._count += len(genes)
            self._genes.append(genes)
            self._values.append(np.stack(found, axis=1))
        return int((~fine).sum())

    def _pay(self, genes: Genes) -> int:
        """Evaluate networks and keep what came out; returns of how many something was not known before."""
        dear: list[Values] = []
        paid = np.zeros(len(genes), dtype=np.bool_)
        keys = stored(genes)
        for objective, before in zip(self._dear, self._recalled):
            values = np.array([before.get(key, np.nan) for key in keys], dtype=np.float64)
            missing = np.isnan(values)
            for values_before in dear:
                missing &= np.isfinite(values_before)  # what failed is not worth another value
            if missing.any():
                start = time.monotonic()
                values[missing], notes = attempt(objective, genes[missing])
                seconds = (time.monotonic() - start) / int(missing.sum())
                self._warn(objective, notes)
                self.archive.record(objective, genes[missing], values[missing], notes=notes, seconds=seconds)
            paid |= missing
            dear.append(values)
        self.failed += self._learn(genes, dear)
        return int(paid.sum())

    def _warn(self, objective: Objective, notes: Sequence[str]) -> None:
        wrong = [note for note in notes if note]
        if not wrong:
            return
        if len(wrong) == len(notes) and not self._count:
            raise SupernetError(
                f"{objective.name} could be evaluated for none of the first {counted(len(notes), 'network')}; "
                f"the first said: {wrong[0]}"
            )
        log.warning("%s failed for %s: %s", objective.name, counted(len(wrong), "network"), wrong[0])


def attempt(objective: Objective, genes: Genes) -> tuple[Values, list[str]]:
    """Evaluate networks together, and once more alone those where that went wrong.

    Returns:
        The values ``(networks,)``, NaN where it went wrong twice, and what went wrong with each: often nothing.

    Raises:
        ShapeError: when the score answers with another number of values.
    """
    notes = [""] * len(genes)
    values = _tried(objective, genes)[0]
    for row in np.flatnonzero(~np.isfinite(values)):
        again, notes[row] = _tried(objective, genes[row : row + 1])
        values[row] = again[0] if np.isfinite(again[0]) else np.nan
    return values, notes


def _tried(objective: Objective, genes: Genes) -> tuple[Values, str]:
    try:
        values = objective.raw(genes).copy()
    except ShapeError:
        raise
    except Exception as error:  # whatever an evaluation dies of, the others go on
        return np.full(len(genes), np.nan), f"{type(error).__name__}: {error}"
    return values, "" if np.isfinite(values).all() else f"the value is {values[~np.isfinite(values)][0]}"


def goals(objectives: Sequence[Objective]) -> str:
    """What is searched for, as text: equal for equal searches, in whatever order their objectives stand."""
    told = [
        [o.name, o.unit, o.sense, o.limit, o.front, None if o.cheap else dict(o.depends)]
        for o in objectives
        if o.optimise or o.limit is not None
    ]
    return json.dumps(sorted(told, key=lambda one: str(one[0])))
