"""How much of their time several workers evaluate, when evaluations are as uneven as 10:1.

    python -m benchmarks.search_workers [--workers 4] [--evals 200] [--unit 0.25] [--pools processes,ray] [--json FILE]

``POOL.used``: the share of the time from the first evaluation to the last in which workers were evaluating. An
evaluation sleeps for one to ten units of seconds. ``POOL.same``: 1 when networks were learned of in the order of a
search in one process with as many networks ahead.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.contract import Result, arguments
from benchmarks.search_kit import load_kit
from search.engine import search
from search.objective import Objective, Values
from search.options import SearchOptions
from search.workers import Scores
from supernet.space import Genes

KIT = load_kit(None)


def main() -> None:
    """Run the benchmark."""
    parser = arguments("search_workers", __doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--evals", type=int, default=200)
    parser.add_argument("--unit", type=float, default=0.25, help="seconds of the shortest evaluation")
    parser.add_argument("--pools", default="processes", help="separated by commas")
    args = parser.parse_args()
    if args.quick:
        args.workers, args.evals, args.unit = 2, 40, 0.02
    result = Result("search_workers", vars(args))
    options = SearchOptions(evaluations=args.evals, ahead=5 * args.workers)
    alone, _ = one(options, 0.0)
    for pool in args.pools.split(","):
        genes, used = one(replace(options, workers=args.workers, pool=pool), args.unit)
        result.figures |= {f"{pool}.used": used, f"{pool}.same": float(np.array_equal(genes, alone))}
    result.finish(args.json)


def one(options: SearchOptions, unit: float) -> tuple[Genes, float]:
    """The networks of a search in order, and the share of their time that its workers evaluated."""
    make = partial(sleeping, unit)
    goals = (
        Objective("accuracy", "%", "max", make()["accuracy"]),
        Objective("macs", "", "min", KIT.macs, source="exact"),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive"
        seen = search(KIT.space, goals, options, path, make=make).evaluations
        with sqlite3.connect(path) as db:
            rows = np.array(db.execute("SELECT date, seconds FROM results").fetchall())
    span = rows[:, 0].max() - (rows[:, 0] - rows[:, 1]).min()
    return KIT.space.matrix([one.arch for one in seen]), float(rows[:, 1].sum() / (options.workers * span))


def sleeping(unit: float) -> Scores:
    """The accuracy of the made-up oracle, for which one waits one to ten units."""

    def accuracy(genes: Genes) -> Values:
        """Of some networks."""
        time.sleep(unit * sum(1 + int(row.sum()) % 10 for row in genes))
        return KIT.accuracy(genes)

    return {"accuracy": accuracy}


if __name__ == "__main__":
    main()
