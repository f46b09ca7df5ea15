"""Workers that are processes on this machine: started anew, so that nothing of this process is shared."""

from __future__ import annotations

import pickle
import signal
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait as first_of
from multiprocessing.process import BaseProcess

from search.objective import ShapeError
from search.workers import Answer, Gone, Job, Make, Outcome, Ready, Scores, Wanted, evaluated, workers
from supernet.errors import ConfigError


@workers.register("processes")
class Processes:
    """See `search.workers.Workers`.

    A process is told its jobs through a pipe of its own. When it is killed, or this process is, the other end of the
    pipe closes: the one is replaced, the others end.

    Raises:
        ConfigError: when what makes the scores can not be sent to another process.
    """

    rows = 1

    def __init__(self, wanted: Wanted) -> None:
        self.count = wanted.count
        self._make = pickled(wanted.make)
        self._staff = [_Process(self._make) for _ in range(wanted.count)]

    def give(self, worker: int, job: Job) -> None:
        """See `Workers.give`."""
        self._staff[worker].give(job)

    def wait(self, seconds: float | None) -> list[tuple[int, Answer]]:
        """See `Workers.wait`."""
        busy = {one.pipe: number for number, one in enumerate(self._staff) if one.busy}
        ready = first_of(list(busy), seconds)
        return [
            (busy[pipe], self._staff[busy[pipe]].answer()) for pipe in ready if isinstance(pipe, Connection)
        ]

    def replace(self, worker: int) -> None:
        """See `Workers.replace`."""
        self._staff[worker].stop()
        self._staff[worker] = _Process(self._make)

    def close(self) -> None:
        """See `Workers.close`."""
        for one in self._staff:
            one.stop()


def pickled(make: Make) -> bytes:
    """What makes the scores, as it is sent to a worker.

    Raises:
        ConfigError: when it can not be sent.
    """
    try:
        return pickle.dumps(make)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"the scores can not be sent to workers: {error}; give `make`, a function of a module that makes them, "
            f"or evaluate with one worker"
        ) from error


class _Process:
    """One worker and this end of its pipe."""

    process: BaseProcess

    def __init__(self, make: bytes) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(make, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.busy = False

    def give(self, job: Job) -> None:
        """Send a job; that nobody is there to take it is seen when the answer is read."""
        self.busy = True
        with suppress(OSError):
            self.pipe.send(job)

    def answer(self) -> Answer:
        """What came through the pipe."""
        try:
            found: Answer | ShapeError = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(timeout=5)
            code = self.process.exitcode
            return Gone(f"the worker was lost (exit code {code}{_signal(code)})")
        if isinstance(found, ShapeError):
            raise found
        self.busy = isinstance(found, Ready)
        return found

    def stop(self) -> None:
        """Kill it: it holds nothing that could be torn."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _signal(code: int | None) -> str:
    return f", {signal.Signals(-code).name}" if code is not None and -64 < code < 0 else ""


def _work(make: bytes, pipe: Connection) -> None:
    """What a worker does until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the search, which stops its workers
    try:
        scores: Scores = pickle.loads(make)()
    except Exception as error:
        pipe.send(Gone(f"a worker could not begin: {type(error).__name__}: {error}"))
        return
    pipe.send(Ready())
    while True:
        try:
            job = pipe.recv()
            pipe.send(_answered(scores, job))
        except (EOFError, OSError):
            return


def _answered(scores: Scores, job: Job) -> Outcome | ShapeError:
    try:
        return evaluated(scores, job)
    except ShapeError as error:
        return error
