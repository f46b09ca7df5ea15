"""A process whose children search and are killed: ``python -m tests.search.killed SUBJECT SEED KILLS FOLDER``.

``SUBJECT`` is ``supernet``, a trained one judged on images by this process, or ``workers``, the synthetic space by two
worker processes. Every other child is killed at a random event (an evaluation, a proposal or a record begins or ends),
the others at a random moment. Prints how each child ended.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from search.archive import Archive
from search.engine import search
from search.objective import Objective, one_by_one
from search.options import SearchOptions
from supernet.space import SearchSpace
from tests.search import synthetic, uneven

Strike = Callable[[], None]


def main() -> None:
    """Search once undisturbed, and once killed as often as asked."""
    subject, seed, kills, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    run = of_supernet() if subject == "supernet" else of_workers()
    rng = Random(seed)
    fates: list[tuple[str, float]] = [("whole", 0.0)]
    for number in range(kills):
        # a moment after the children have begun, or an event not far from where they go on
        fates.append(("moment", rng.uniform(0.2, 1.2)) if number % 2 else ("event", rng.randint(1, 12)))
    for kind, after in [*fates, ("parts", 0.0)]:
        path = folder / ("whole" if kind == "whole" else "parts")
        child = get_context("fork").Process(target=live, args=(run, path, kind, after))
        child.start()
        child.join()
        print(kind, after, -(child.exitcode or 0), flush=True)


def of_supernet() -> Callable[[Path, Strike], None]:
    """A tiny supernet, searched for accuracy against multiply-adds."""
    import torch

    from supernet.data import ImageDataset
    from supernet.evaluate import Evaluator
    from supernet.options import DataOptions
    from supernet.sources import load_data
    from tests.tiny import tiny_supernet

    torch.set_num_threads(1)
    data = load_data(DataOptions(resolution=32, channels=3))
    assert isinstance(data, ImageDataset)
    net = tiny_supernet()
    judge, costs = Evaluator(net, data, examples=16, calibration_examples=8), net.costs((1, 3, 32, 32))

    def run(path: Path, strike: Strike) -> None:
        """Search in this process."""
        quality = data.task.ranked_by
        score = struck(one_by_one(net.space, lambda arch: judge(arch)[quality.name]), strike)
        goals = (
            Objective(quality.name, quality.unit, quality.sense, score, depends={"weights": "tiny"}),
            Objective("macs", "", "min", lambda genes: costs.macs(genes).astype(float), source="exact"),
        )
        search(net.space, goals, SearchOptions(evaluations=70, batch=2), path)

    return run


def of_workers() -> Callable[[Path, Strike], None]:
    """The synthetic space, by two processes that take unlike times."""

    def run(path: Path, strike: Strike) -> None:
        """Search with workers."""
        space: SearchSpace = synthetic.space()
        options = SearchOptions(evaluations=70, workers=2, ahead=8)
        make = partial(uneven.sleeping, 0.01)
        search(space, synthetic.objectives()[:2], options, path, make=make)

    return run


def live(run: Callable[[Path, Strike], None], path: Path, kind: str, after: float) -> None:
    """Go on with the search in a file, and be killed on the way."""
    left = after if kind == "event" else float("inf")

    def strike() -> None:
        """Something begins or ends."""
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("record", "propose"):
        setattr(Archive, name, struck(getattr(Archive, name), strike))
    if kind == "moment":
        threading.Thread(target=_after, args=(after,), daemon=True).start()
    run(path, strike)


def struck(call: Callable[..., Any], strike: Strike) -> Callable[..., Any]:
    """A call, before and after which something may strike."""

    def around(*args: Any, **kwargs: Any) -> Any:
        """The call."""
        strike()
        found = call(*args, **kwargs)
        strike()
        return found

    return around


def _after(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
