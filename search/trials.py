"""The trials of a search: what was proposed, in order, and what became of it; every value is kept at once.

Networks are learned of in the order in which they were proposed, whoever evaluates them and whoever is done first. So a
search has one trajectory, with any number of workers and any number of kills.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from search.archive import Archive, Evaluations, stored
from search.objective import Objective, Values
from search.options import SearchOptions
from search.searcher import Known
from search.workers import Found, Job, Outcome
from supernet.errors import SupernetError
from supernet.space import Genes
from supernet.wording import counted

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the networks evaluated so far and the most there will be."""
IN_LINE, OUT, DONE = range(3)
"""What a trial can be: waiting, with a worker, over."""


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
        self.scored = self.failed = 0
        self._dear = [objective for objective in self.objectives if not objective.cheap]
        self._goals = goals(self.objectives)
        self._recalled = {objective.name: archive.values(objective) for objective in self._dear}
        proposed = archive.proposals(self._goals)
        self.batches = len(proposed)
        self._genes = np.concatenate([self._nothing(), *(one.genes for one in proposed)])
        self._values = np.full((len(self._genes), len(self.objectives)), np.nan)
        self._state = np.full(len(self._genes), IN_LINE)
        self._unwritten: list[tuple[Job, Outcome]] = []
        self._out: dict[int, NDArray[np.intp]] = {}
        self._before = self._recall_others()
        self._recall_own()

    @property
    def spent(self) -> int:
        """How many networks of the budget are evaluated."""
        return int((self._state == DONE).sum())

    @property
    def proposed(self) -> int:
        """How many networks were asked for."""
        return len(self._genes)

    @property
    def settled(self) -> int:
        """How many of the first are over, without a gap."""
        open_ = np.flatnonzero(self._state != DONE)
        return int(open_[0]) if len(open_) else len(self._state)

    def known(self, first: int) -> Known:
        """What a searcher is told that knows of the first so many trials; the others are pending to it."""
        fine = np.isfinite(self._values[:first]).all(axis=1)
        here = slice(first) if fine.all() else np.flatnonzero(fine)
        genes, values = self._before
        if first and len(genes):
            genes = np.concatenate([genes, self._genes[here]])
            values = np.concatenate([values, self._values[here]])
        elif first:
            genes, values = self._genes[here], self._values[here]
        return Known(genes, values, self._genes[first:], self._taken)

    @property
    def before(self) -> tuple[Genes, Values]:
        """What the archive knew beside this search: networks and their values."""
        return self._before

    def learned(self, first: int) -> tuple[Genes, Values]:
        """The trials from a number on that are over without a gap, and their values, NaN where one failed."""
        rows = slice(first, self.settled)
        return self._genes[rows], self._values[rows]

    def evaluations(self) -> Evaluations:
        """Every network whose values are known: those of other searches first, then in the order proposed."""
        known = self.known(self.proposed)
        return Evaluations(self.archive.space, self.objectives, known.genes, known.values)

    def propose(self, genes: Genes, searcher: str, known: int) -> None:
        """Put networks in line; they stay there when the process is killed.

        Args:
            known: networks whose values the searcher had seen.
        """
        self.archive.propose(self._goals, genes, searcher=searcher, seed=self.options.seed, known=known)
        self._genes = np.concatenate([self._genes, genes])
        self._values = np.concatenate([self._values, np.full((len(genes), len(self.objectives)), np.nan)])
        self._state = np.concatenate([self._state, np.full(len(genes), IN_LINE)])
        self._taken.update(stored(genes))
        self.batches += 1

    def next_job(self, most: int) -> tuple[int, Job] | None:
        """The next networks in line, as far as the budget goes, and the number of the job; None when there are none."""
        left = self.options.evaluations - int((self._state != IN_LINE).sum())
        rows = np.flatnonzero(self._state == IN_LINE)[: max(min(most, left), 0)]
        if not len(rows):
            return None
        self._state[rows] = OUT
        self._out[int(rows[0])] = rows
        keys = stored(self._genes[rows])
        known = {name: _looked_up(column, keys) for name, column in self._recalled.items()}
        return int(rows[0]), Job(self._genes[rows], known)

    def take(self, number: int, job: Job, outcome: Outcome) -> None:
        """Keep what came out of a job.

        As long as every evaluation has failed, nothing is written down: it may be the fault of all of them.

        Raises:
            SupernetError: when the first evaluations have all failed.
            StateError: when the archive cannot be written to.
        """
        values = np.empty((len(job.genes), len(self._dear)))
        paid = np.zeros(len(job.genes), dtype=np.bool_)
        for i, objective in enumerate(self._dear):
            values[:, i] = job.known[objective.name]
            if found := outcome.found.get(objective.name):
                values[found.rows, i] = found.values
                paid[found.rows] = True
        self.scored += int(paid.sum())
        self._settle(self._out.pop(number), values)
        self._unwritten.append((job, outcome))
        if self.failed == self.spent and not len(self._before[0]):
            self._despair()
        else:
            self._write()
        if self.progress is not None:
            self.progress(self.spent, self.options.evaluations)

    def _despair(self) -> None:
        if self.failed >= min(self.options.batch, self.proposed, self.options.evaluations):
            name, found = next(iter(self._unwritten[0][1].found.items()))
            raise SupernetError(
                f"{name} could be evaluated for none of the first {counted(self.failed, 'network')}; "
                f"the first said: {next(filter(None, found.notes))}"
            )

    def _write(self) -> None:
        for job, outcome in self._unwritten:
            for objective in self._dear:
                if found := outcome.found.get(objective.name):
                    self._record(objective, job, found, outcome.worker)
        self._unwritten = []

    def _record(self, objective: Objective, job: Job, found: Found, worker: str) -> None:
        if wrong := [note for note in found.notes if note]:
            log.warning("%s failed for %s: %s", objective.name, counted(len(wrong), "network"), wrong[0])
        self.archive.record(
            objective,
            job.genes[found.rows],
            found.values,
            notes=found.notes,
            seconds=found.seconds,
            worker=worker,
        )

    def _settle(self, rows: NDArray[np.intp], dear: Values) -> None:
        """Trials are over, with these expensive values ``(rows, expensive objectives)``."""
        self._state[rows] = DONE
        fine = np.isfinite(dear).all(axis=1)
        self.failed += int((~fine).sum())
        rows = rows[fine]
        if len(rows):
            self._values[rows] = self._complete(self._genes[rows], dear[fine])

    def _complete(self, genes: Genes, dear: Values) -> Values:
        """All values, in the order of the objectives, of networks with these expensive ones."""
        rest = iter(dear.T)
        return np.stack([o(genes) if o.cheap else next(rest) for o in self.objectives], axis=1)

    def _recall_own(self) -> None:
        """Take up what became of what was proposed by earlier calls."""
        keys = stored(self._genes)
        dear = self._columns(keys)
        there = np.array([self._is_over(key) for key in keys], dtype=np.bool_)
        self._settle(np.flatnonzero(there), dear[there])
        self._taken |= set(keys)

    def _recall_others(self) -> tuple[Genes, Values]:
        """What the archive knows beside what this search has asked for."""
        own = set(stored(self._genes))
        keys = [key for key in sorted(set().union(*self._recalled.values()) - own) if self._is_over(key)]
        self._taken = set(keys)
        dear = self._columns(keys)
        fine = np.isfinite(dear).all(axis=1)
        genes = self.archive.genes(b"".join(keys))[fine]
        if not len(genes):
            return self._nothing(), np.zeros((0, len(self.objectives)))
        return genes, self._complete(genes, dear[fine])

    def _is_over(self, key: bytes) -> bool:
        """Whether all is known of a network, or one of its evaluations has failed."""
        found = [column.get(key) for column in self._recalled.values()]
        return None not in found or any(value is not None and value != value for value in found)

    def _columns(self, keys: Sequence[bytes]) -> Values:
        found = [_looked_up(column, keys) for column in self._recalled.values()]
        return np.array(found, dtype=np.float64).reshape(len(found), len(keys)).T

    def _nothing(self) -> Genes:
        return np.zeros((0, len(self.archive.space)), dtype=np.int64)


def _looked_up(column: Mapping[bytes, float], keys: Sequence[bytes]) -> Values:
    """Values by key; NaN where there is none."""
    if not column:
        return np.full(len(keys), np.nan)
    return np.array([column.get(key, np.nan) for key in keys], dtype=np.float64)


def goals(objectives: Sequence[Objective]) -> str:
    """What is searched for, as text: equal for equal searches, in whatever order their objectives stand."""
    told = [
        [o.name, o.unit, o.sense, o.limit, o.front, None if o.cheap else dict(o.depends)]
        for o in objectives
        if o.optimise or o.limit is not None
    ]
    return json.dumps(sorted(told, key=lambda one: str(one[0])))
