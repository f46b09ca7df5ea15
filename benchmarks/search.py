"""The guided search beside NSGA-II and chance, on a surrogate of once-for-all with a known front.

    python -m benchmarks.search --kit DIR --device NAME [--evals 100,250,500,1000] [--seeds 5]
        [--latency exact | predicted:M] [--oracle FILE] [--json FILE]

``share.N``: share of the reference hypervolume that the first N networks cover, mean over seeds; ``worst_share.N``
of the worst seed; ``nsga2.share.N`` and ``random.share.N`` of the peers. ``duplicates``: networks that were paid for
twice, over all seeds. The reference is the front of three evolutions of 50,000 networks on the oracle
itself and of a fourth that begins at theirs; the box
ends at 71 % and at 0.65 latencies of the largest network. With ``predicted:M`` the search sees latencies predicted
from M measurements of the device, of networks chosen as `supernet profile` does, and is judged by the true ones.
Without a kit, a made-up oracle takes its place.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from benchmarks.contract import Result, arguments
from benchmarks.search_kit import SearchKit, Yardstick, add_task, load_kit, yardstick
from hardware.sampling import spread
from predictors.tabular import Tabular
from search.engine import search
from search.objective import Objective, Values
from search.options import SearchOptions
from supernet.space import Genes

SEARCHERS = ("guided", "nsga2", "random")


def main() -> None:
    """Run the benchmark."""
    parser = arguments("search", __doc__.partition("\n")[0])
    add_task(parser)
    parser.add_argument("--latency", default="exact", help="exact, or predicted:M from M measurements")
    args = parser.parse_args()
    if args.quick:
        args.evals, args.seeds, args.looks = "30,40", 1, 3_000
    budgets = sorted(int(number) for number in args.evals.split(","))
    kit = load_kit(args.kit, args.oracle)
    args.device = args.device or kit.devices[0]
    result = Result("search", vars(args))
    measure = yardstick(kit, args.device, looks=args.looks)
    result.figures |= {"reference_volume": measure.volume, "reference_ms": float(measure.point[1])}
    for searcher in SEARCHERS:
        rows = [one(kit, measure, args, searcher, seed, budgets) for seed in range(args.seeds)]
        result.rows += rows
        summarise(result, rows, "" if searcher == "guided" else f"{searcher}.", budgets)
    result.figures["duplicates"] = sum(
        row["duplicates"] for row in result.rows if row["searcher"] == "guided"
    )
    result.finish(args.json)


def one(
    kit: SearchKit, measure: Yardstick, args: Any, searcher: str, seed: int, budgets: list[int]
) -> dict[str, Any]:
    """The shares of one search after each budget."""
    options = SearchOptions(searcher=searcher, evaluations=max(budgets), seed=seed, batch=50)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        goals = objectives(kit, args.device, args.latency, seed)
        seen = search(kit.space, goals, options, Path(folder) / "archive").evaluations
    seconds = time.process_time() - start
    genes = kit.space.matrix([evaluation.arch for evaluation in seen])
    truth = kit.losses(genes, args.device)
    shares = {f"share.{budget}": measure.share(truth[:budget]) for budget in budgets}
    repeated = len(genes) - len(np.unique(genes, axis=0))
    return {"searcher": searcher, "seed": seed, **shares, "cpu s": seconds, "duplicates": repeated}


def objectives(kit: SearchKit, device: str, latency: str, seed: int) -> tuple[Objective, ...]:
    """Accuracy, and latency as it is or as predicted from a few measurements."""
    accuracy, exact, *costs = kit.objectives(device)
    kind, _, count = latency.partition(":")
    if kind == "exact":
        return accuracy, exact, *costs
    if kind != "predicted" or not count.isdigit():
        raise SystemExit(f"--latency is {latency!r}; give exact, or predicted:20 for twenty measurements")
    genes = kit.space.matrix(spread(kit.space, int(count), seed, kit.macs))
    predictor = Tabular(kit.space, macs=kit.macs, params=kit.params)
    predictor.fit(genes, kit.latency_ms(genes, device))

    def predicted(genes: Genes) -> Values:
        """By the predictor."""
        return predictor.predict(genes).mean

    return accuracy, replace(exact, score=predicted), *costs


def summarise(result: Result, rows: list[dict[str, Any]], prefix: str, budgets: list[int]) -> None:
    """Mean, worst and spread over seeds."""
    for budget in budgets:
        shares = [row[f"share.{budget}"] for row in rows]
        result.figures[f"{prefix}share.{budget}"] = mean(shares)
        result.figures[f"{prefix}worst_share.{budget}"] = min(shares)
        if len(shares) > 1:
            result.figures[f"{prefix}spread.{budget}"] = stdev(shares)
    result.figures[f"{prefix}cpu_seconds"] = mean(row["cpu s"] for row in rows)


if __name__ == "__main__":
    main()
