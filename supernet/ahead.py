"""Batches made before they are needed: the next steps' in processes of their own, while a step is learnt from."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from supernet.errors import DataError, SupernetError

T = TypeVar("T")
Told = tuple[str, int, str]
"""Logger, level and message."""


class Ahead(Generic[T]):
    """What a function of the step gives, made before it is asked for.

    The processes call the same function with the same steps, so that what comes out does not depend on how many
    there are, nor on the step at which a training goes on.

    Args:
        make: of a step; gives the same whenever and wherever it is called.
        steps: how many there are.
        workers: processes; 0 makes each when it is asked for, here.
    """

    def __init__(self, make: Callable[[int], T], steps: int, workers: int = 0) -> None:
        self.make, self.steps, self.workers = make, steps, workers
        self.waited = 0.0
        self._since: float | None = None
        self._next = -1
        self._coming: Iterator[tuple[Any, list[Told]]] | None = None
        self._told: set[Told] = set()

    def __call__(self, step: int) -> T:
        """What belongs to a step; one that follows the last one was made meanwhile.

        Raises:
            SupernetError: what the function raised.
            DataError: when a process died.
        """
        began = time.perf_counter()
        self._since = self._since or began
        made = self._from_workers(step) if self.workers else self.make(step)
        self.waited += time.perf_counter() - began
        return made

    @property
    def waiting(self) -> float:
        """The share of the time since the first call that was spent waiting; 0 before it."""
        return self.waited / (time.perf_counter() - self._since) if self._since else 0.0

    def close(self) -> None:
        """End the processes; another call begins anew."""
        self._coming = None

    def _from_workers(self, step: int) -> T:
        if self._coming is None or step != self._next:
            self._coming = self._begin(step)
        try:
            made, told = next(self._coming)
        except RuntimeError as error:
            raise DataError(
                f"a process that makes batches ahead died ({error}); it may lack memory: choose fewer data.workers "
                f"or a smaller train.batch_size, or data.workers=0 to make them one by one"
            ) from error
        self._next = step + 1
        self._tell(told)
        if isinstance(made, SupernetError):
            raise made
        result: T = made
        return result

    def _begin(self, step: int) -> Iterator[tuple[Any, list[Told]]]:
        # with a generator of its own, the loader draws nothing from the one that everybody shares
        return iter(
            DataLoader(
                _Made(self.make),
                batch_size=None,
                sampler=range(step, self.steps),
                num_workers=self.workers,
                collate_fn=_as_it_is,
                generator=torch.Generator(),
            )
        )

    def _tell(self, told: list[Told]) -> None:
        """Log what the processes had to say, each thing once."""
        for said in told:
            if said not in self._told:
                self._told.add(said)
                logging.getLogger(said[0]).log(said[1], "%s", said[2])


class _Made(Dataset[tuple[Any, list[Told]]]):
    """A function of the step as PyTorch's loader wants it."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def __getitem__(self, step: int) -> tuple[Any, list[Told]]:
        with _heard() as told:
            try:
                return self.make(step), told
            except SupernetError as error:
                return error, told


def _as_it_is(made: T) -> T:
    return made


@contextmanager
def _heard() -> Iterator[list[Told]]:
    """What is logged meanwhile in this process, which is not to write between the lines of another."""
    told: list[Told] = []

    class Listener(logging.Handler):
        """Keeps warnings."""

        def emit(self, record: logging.LogRecord) -> None:
            """See `logging.Handler`."""
            told.append((record.name, record.levelno, record.getMessage()))

    root = logging.getLogger()
    before, root.handlers = root.handlers, [Listener(logging.WARNING)]
    try:
        yield told
    finally:
        root.handlers = before
