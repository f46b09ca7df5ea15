"""Scores that take unlike times, fail, hang and die, made where a worker runs; what happened lies in a folder."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from search.objective import Values
from search.workers import Scores
from supernet.space import Genes
from tests.search import synthetic


def plain() -> Scores:
    """The accuracy of the synthetic space."""
    return {"accuracy": synthetic.accuracy}


def broken() -> Scores:
    """Nothing can be evaluated."""
    raise OSError("the images are gone")


def shapeless() -> Scores:
    """A score that answers too much."""
    return {"accuracy": lambda genes: np.zeros(len(genes) + 1)}


def troubled(folder: Path, patience: float) -> Scores:
    """Some networks raise, some have no value, some kill their worker, once or always, and some take for ever."""

    def accuracy(genes: Genes) -> Values:
        """Of one network."""
        kind = trouble(genes[0])
        with (folder / f"{'-'.join(map(str, genes[0]))}.{kind}").open("a") as file:
            file.write("x")
            first = file.tell() == 1
        if kind == "raises":
            raise RuntimeError("out of memory")
        if kind == "is lost" or (kind == "is lost once" and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "hangs":
            time.sleep(patience)
        return np.full(1, np.nan) if kind == "is no number" else synthetic.accuracy(genes)

    return {"accuracy": accuracy}


KINDS = ("raises", "is no number", "is lost", "is lost once", "hangs")


def trouble(row: Genes) -> str:
    """What becomes of a network: one in six has some trouble."""
    return dict(enumerate(KINDS)).get(int(row.sum()) * 7 % 30, "is well")


def sleeping(unit: float) -> Scores:
    """Evaluations between one and ten units of seconds."""

    def accuracy(genes: Genes) -> Values:
        """Of one network."""
        time.sleep(unit * spent(genes[0]))
        return synthetic.accuracy(genes)

    return {"accuracy": accuracy}


def spent(row: Genes) -> float:
    """How long a network takes, in units: one to ten."""
    return 1 + int(row @ np.arange(1, len(row) + 1)) % 10
