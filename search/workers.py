"""Who evaluates networks: this process, or workers that evaluate several at the same time; the registry of them.

A worker is given a *job*: some networks, and what is known of them. It answers with an *outcome*: for every expensive
objective the values that were missing. What goes wrong inside is tried once more there and answered as no value;
workers that are lost or too slow are the matter of `search.dispatch`.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from search.objective import Objective, ShapeError, Values, shaped
from supernet.registry import Registry
from supernet.space import Genes

Scores = Mapping[str, "Callable[[Genes], Values]"]
"""What is expensive, by the name of the objective."""
Make = Callable[[], Scores]
"""Makes the scores where they are needed. A worker elsewhere gets it as a pickle, so it is a function of a module, or a
`functools.partial` of one."""


@dataclass(frozen=True)
class Job:
    """Networks to evaluate.

    Args:
        genes: canonical ``(networks, choices)``.
        known: their values by objective ``(networks,)``, in the order in which they are to be evaluated; NaN where one
            is missing.
    """

    genes: Genes
    known: Mapping[str, Values]


@dataclass(frozen=True)
class Found:
    """What became of one objective.

    Args:
        rows: of the job that were evaluated.
        values: theirs ``(rows,)``; NaN for an evaluation that failed twice.
        notes: what went wrong with each; often nothing.
        seconds: that one of them took.
    """

    rows: NDArray[np.intp]
    values: Values
    notes: list[str]
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a worker answers.

    Args:
        found: by objective.
        worker: who it was: the machine and the number of the process.
    """

    found: Mapping[str, Found]
    worker: str


def evaluated(scores: Scores, job: Job) -> Outcome:
    """Evaluate what is missing; a network one of whose values fails is not worth its others.

    Raises:
        ShapeError: when a score answers with another number of values.
    """
    found: dict[str, Found] = {}
    fine = np.ones(len(job.genes), dtype=np.bool_)
    for name, before in job.known.items():
        rows = np.flatnonzero(np.isnan(before) & fine)
        if len(rows):
            start = time.monotonic()
            values, notes = attempt(name, scores[name], job.genes[rows])
            found[name] = Found(rows, values, notes, (time.monotonic() - start) / len(rows))
            fine[rows[~np.isfinite(values)]] = False
    return Outcome(found, worker_name())


def lost(job: Job, why: str) -> Outcome:
    """The outcome of a job that never came back: every network failed at the first value it lacked."""
    found: dict[str, Found] = {}
    open_ = np.ones(len(job.genes), dtype=np.bool_)
    for name, before in job.known.items():
        rows = np.flatnonzero(np.isnan(before) & open_)
        if len(rows):
            found[name] = Found(rows, np.full(len(rows), np.nan), [why] * len(rows), 0.0)
            open_[rows] = False
    return Outcome(found, worker_name())


def attempt(name: str, score: Callable[[Genes], Values], genes: Genes) -> tuple[Values, list[str]]:
    """Evaluate networks together, and once more alone those where that went wrong.

    Returns:
        The values ``(networks,)``, NaN where it went wrong twice, and what went wrong with each: often nothing.

    Raises:
        ShapeError: when the score answers with another number of values.
    """
    notes = [""] * len(genes)
    values = _tried(name, score, genes)[0]
    for row in np.flatnonzero(~np.isfinite(values)):
        again, notes[row] = _tried(name, score, genes[row : row + 1])
        values[row] = again[0] if np.isfinite(again[0]) else np.nan
    return values, notes


def _tried(name: str, score: Callable[[Genes], Values], genes: Genes) -> tuple[Values, str]:
    try:
        values = shaped(name, genes, score(genes)).copy()
    except ShapeError:
        raise
    except Exception as error:  # whatever an evaluation dies of, the others go on
        return np.full(len(genes), np.nan), f"{type(error).__name__}: {error}"
    return values, "" if np.isfinite(values).all() else f"the value is {values[~np.isfinite(values)][0]}"


def worker_name() -> str:
    """This process, as an archive names who evaluated."""
    return f"{socket.gethostname()}/{os.getpid()}"


def scores_of(objectives: tuple[Objective, ...]) -> Scores:
    """The scores of what is expensive; with `functools.partial`, a `Make` of objectives that pickle."""
    return {objective.name: objective.score for objective in objectives if not objective.cheap}


@dataclass(frozen=True)
class Gone:
    """In the place of an outcome: the worker is no more, or could not even begin."""

    why: str


class Ready:
    """In the place of an outcome: the worker has begun to work; said once."""


Answer = Outcome | Gone | Ready
"""What a worker says."""


class Workers(Protocol):
    """Some workers, each with one job at a time.

    Attributes:
        count: how many there are; they are called by their number.
        rows: networks that a job should have, at most.
    """

    count: int
    rows: int

    def give(self, worker: int, job: Job) -> None:
        """Let a worker that has nothing to do begin."""

    def wait(self, seconds: float | None) -> list[tuple[int, Answer]]:
        """What those with a job say, at least one unless the time is over (None for any time).

        Raises:
            ShapeError: when a score answers with another number of values.
        """

    def replace(self, worker: int) -> None:
        """Stop a worker at once, whatever it does, and put a new one in its place."""

    def close(self) -> None:
        """Stop them all."""


@dataclass(frozen=True)
class Wanted:
    """What workers are asked to be.

    Args:
        make: makes the scores where a worker runs.
        count: how many workers.
        rows: networks that scores may be given at once.
    """

    make: Make
    count: int
    rows: int


class InProcess:
    """This process itself, which evaluates several networks at once where scores can; see `Workers`."""

    def __init__(self, wanted: Wanted) -> None:
        self.count, self.rows = 1, wanted.rows
        self._scores = wanted.make()
        self._job: Job | None = None

    def give(self, worker: int, job: Job) -> None:
        """Keep it until somebody waits."""
        self._job = job

    def wait(self, seconds: float | None) -> list[tuple[int, Answer]]:
        """Evaluate it now."""
        assert self._job is not None
        job, self._job = self._job, None
        return [(0, evaluated(self._scores, job))]

    def replace(self, worker: int) -> None:
        """Forget the job."""
        self._job = None

    def close(self) -> None:
        """Nothing to stop."""


workers: Registry[Callable[[Wanted], Workers]] = Registry(
    "way to evaluate",
    modules=("search.workers", "search.processes", "search.on_ray"),
    group="supernet.workers",
)
"""Ways to evaluate by name."""
workers.register("here")(InProcess)
