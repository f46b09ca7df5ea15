"""Workers on as many machines as a Ray cluster has (``pip install "supernet[ray]"``)."""

from __future__ import annotations

from typing import Any

from search.objective import ShapeError
from search.processes import pickled
from search.workers import Answer, Gone, Job, Outcome, Ready, Scores, Wanted, evaluated, workers
from supernet.errors import ConfigError


@workers.register("ray")
class OnRay:
    """See `search.workers.Workers`: one actor for each, on the cluster that ``RAY_ADDRESS`` names or one begun here.

    Raises:
        ConfigError: when Ray is not installed, or what makes the scores can not be sent.
    """

    rows = 1

    def __init__(self, wanted: Wanted) -> None:
        self._ray = _ray()
        self._make, self.count = pickled(wanted.make), wanted.count
        self._begun = not self._ray.is_initialized()
        if self._begun:
            self._ray.init(log_to_driver=False, include_dashboard=False)
        self._actor = self._ray.remote(max_restarts=0)(Evaluating)
        self._running: dict[Any, int] = {}
        self._staff = [self._begin(worker) for worker in range(wanted.count)]

    def give(self, worker: int, job: Job) -> None:
        """See `Workers.give`."""
        self._running[self._staff[worker].evaluate.remote(job)] = worker

    def wait(self, seconds: float | None) -> list[tuple[int, Answer]]:
        """See `Workers.wait`."""
        ready, _ = self._ray.wait(list(self._running), timeout=seconds)
        return [(self._running.pop(one), self._answer(one)) for one in ready]

    def replace(self, worker: int) -> None:
        """See `Workers.replace`."""
        self._running = {one: by for one, by in self._running.items() if by != worker}
        self._ray.kill(self._staff[worker])
        self._staff[worker] = self._begin(worker)

    def close(self) -> None:
        """See `Workers.close`."""
        for actor in self._staff:
            self._ray.kill(actor)
        if self._begun:
            self._ray.shutdown()

    def _begin(self, worker: int) -> Any:
        actor = self._actor.remote(self._make)
        self._running[actor.ready.remote()] = worker
        return actor

    def _answer(self, one: Any) -> Answer:
        try:
            found: Answer = self._ray.get(one)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ShapeError):
                raise error.cause from error
            return Gone(f"a worker could not begin: {type(error.cause).__name__}: {error.cause}")
        except self._ray.exceptions.RayError as error:
            return Gone(f"the worker was lost: {str(error).strip().splitlines()[0]}")
        return found


class Evaluating:
    """What runs as an actor."""

    def __init__(self, make: bytes) -> None:
        import pickle

        self._scores: Scores = pickle.loads(make)()

    def ready(self) -> Ready:
        """Said when the scores are made."""
        return Ready()

    def evaluate(self, job: Job) -> Outcome:
        """See `search.workers.evaluated`."""
        return evaluated(self._scores, job)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            'Ray is not installed; pip install "supernet[ray]", or leave search.pool out'
        ) from error
    return ray
