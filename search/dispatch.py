"""Jobs to workers and outcomes back: a worker that is lost, or too slow, costs one trial."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from math import isinf

from search.workers import Gone, Job, Outcome, Ready, Workers, lost

log = logging.getLogger(__name__)

TRIES = 2
"""Times that a job is given to a worker before it counts as failed."""


@dataclass
class _Running:
    """A job that a worker has.

    Attributes:
        number: what the search calls the job.
        begun: by the monotonic clock; None as long as the worker is not ready.
        tries: how often it was given to a worker.
    """

    number: int
    job: Job
    begun: float | None
    tries: int = 1


class Dispatch:
    """Gives jobs to whoever is free.

    Args:
        workers: who evaluates.
        seconds: what an evaluation may take, for each network; None for any time.
    """

    def __init__(self, workers: Workers, seconds: float | None = None) -> None:
        self.workers, self.seconds = workers, seconds
        self._running: dict[int, _Running] = {}
        self._ready: set[int] = set()

    @property
    def free(self) -> int:
        """Workers without a job."""
        return self.workers.count - len(self._running)

    @property
    def busy(self) -> int:
        """Workers with a job."""
        return len(self._running)

    def submit(self, number: int, job: Job) -> None:
        """Give a job to a worker that is free."""
        worker = next(i for i in range(self.workers.count) if i not in self._running)
        self._give(worker, number, job)

    def finished(self) -> list[tuple[int, Job, Outcome]]:
        """At least one job that is done, or has failed for good, by its number.

        Raises:
            ShapeError: when a score answers with another number of values.
        """
        done: list[tuple[int, Job, Outcome]] = []
        while not done:
            for worker, answer in self.workers.wait(self._patience()):
                if isinstance(answer, Ready):
                    self._begin(worker)
                elif isinstance(answer, Gone):
                    done += self._again(worker, answer.why)
                else:
                    ended = self._running.pop(worker)
                    done.append((ended.number, ended.job, answer))
            for worker in self._overdue():
                done += self._again(worker, f"it took longer than {self.seconds:g} s")
        return done

    def _again(self, worker: int, why: str) -> list[tuple[int, Job, Outcome]]:
        """Put a new worker in the place of one, and give it the job once more, or give up."""
        self.workers.replace(worker)
        self._ready.discard(worker)
        running = self._running.pop(worker)
        if running.tries == TRIES:
            return [(running.number, running.job, lost(running.job, why))]
        log.debug("%s; the job is tried again", why)
        self._give(worker, running.number, running.job, running.tries + 1)
        return []

    def _give(self, worker: int, number: int, job: Job, tries: int = 1) -> None:
        begun = time.monotonic() if worker in self._ready else None
        self._running[worker] = _Running(number, job, begun, tries)
        self.workers.give(worker, job)

    def _begin(self, worker: int) -> None:
        """The time of a job begins when its worker is ready for it."""
        self._ready.add(worker)
        if worker in self._running:
            self._running[worker].begun = time.monotonic()

    def _overdue(self) -> list[int]:
        now = time.monotonic()
        return [worker for worker, running in self._running.items() if self._left(running, now) <= 0]

    def _patience(self) -> float | None:
        """Seconds until the next worker is overdue."""
        now = time.monotonic()
        least = min(self._left(running, now) for running in self._running.values())
        return None if isinf(least) else max(least, 0.0)

    def _left(self, running: _Running, now: float) -> float:
        if self.seconds is None or running.begun is None:
            return float("inf")
        return running.begun + self.seconds * len(running.job.genes) - now
