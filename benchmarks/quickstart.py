"""The quickstart's promises: accuracy of the subnets, beside the same networks trained alone; seconds; ONNX.

    python -m benchmarks.quickstart [--seeds 3] [--json FILE]

Per seed: one supernet, then its largest and its smallest network trained alone from scratch for as many steps
with the same recipe. ``worst_gap_to_alone`` is how many points, at worst, a subnet is behind (negative when it
is ahead in all cases); ``worst_gap_of_alone_to_alone`` how far apart two networks of one kind are that
trained alone from different seeds, about the least that can be told. ``seconds`` is a whole ``supernet quickstart`` in
a fresh folder.

``search_over_random`` is how much more of the hypervolume the search of that run covers than as many networks drawn at
random do, each with as many seeds: shares of the box between the best and the worst value of each objective that any of
them met. ``search_over_random_spread`` is the standard deviation of that margin over the seeds.
"""

from __future__ import annotations

import io
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from rich.console import Console

from benchmarks.contract import Result, arguments
from search.engine import random_search, search
from search.front import hypervolume, matrix
from supernet.build import build
from supernet.elastic.supernet import Supernet
from supernet.evaluate import Evaluator
from supernet.options import SupernetOptions, TrainOptions
from supernet.sources import load_data
from supernet.space import Architecture
from supernet.strategies import Standalone, Strategy
from supernet.tasks.task import Dataset
from supernet.trainer import Trainer
from zoo.cli.narrator import Narrator
from zoo.cli.quickstart import quickstart
from zoo.pipeline.profiling import Profiled
from zoo.pipeline.run import open_run
from zoo.pipeline.searching import ARCHIVE, objectives
from zoo.pipeline.workspace import Workspace


def main() -> None:
    """Run the benchmark."""
    parser = arguments("quickstart", __doc__.partition("\n")[0])
    parser.add_argument("--data", default="digits", help="as `supernet train --data`")
    parser.add_argument(
        "--seeds", type=int, default=3, help="of the comparison with training alone, and of the searches"
    )
    parser.add_argument("--epochs", type=int, help="instead of the quickstart's own number")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.quick:
        args.seeds, args.epochs = 1, args.epochs or 3
    result = Result("quickstart", vars(args))
    changes = [f'data.source="{args.data}"', *([f"train.epochs={args.epochs}"] if args.epochs else [])]
    if args.quick:
        changes += ["search.evaluations=20", "search.population=8", "profile.subnets=12", "profile.seconds=2"]
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(Path(folder) / "run", changes=changes)
        start = time.perf_counter()
        walked = quickstart(run, Narrator(Console(file=io.StringIO())), "python -m benchmarks.quickstart")
        proofs = walked.proofs
        result.figures["seconds"] = time.perf_counter() - start
        result.figures["worst_onnx_difference"] = max(proof.parity.max_relative for proof in proofs)
        result.figures["worst_inside_to_cut_out"] = max(proof.exact for proof in proofs)
        shares = covered(walked.workspace, walked.known, args.seeds)
    margins = [search - random for search, random in shares]
    result.figures["search_over_random"] = mean(margins)
    if len(margins) > 1:
        result.figures["search_over_random_spread"] = stdev(margins)
    result.rows += [
        {"seed": seed, "network": "all evaluated", "search's share": search, "random share": random}
        for seed, (search, random) in enumerate(shares)
    ]
    data = load_data(run.options.data)
    for seed in range(args.seeds):
        result.rows += compare(data, run.options.supernet, replace(run.options.train, seed=seed))
    apart = []
    for role in ("largest", "smallest"):
        rows = [row for row in result.rows if row["network"] == role]
        result.figures[f"{role}_accuracy"] = min(row["subnet"] for row in rows)
        alone = [row["alone"] for row in rows]
        apart.append(max(alone) - min(alone))
    result.figures["worst_gap_to_alone"] = max(
        row["alone"] - row["subnet"] for row in result.rows if "alone" in row
    )
    if args.seeds > 1:
        result.figures["worst_gap_of_alone_to_alone"] = max(apart)
    result.finish(args.json)


def covered(workspace: Workspace, known: Profiled, seeds: int) -> list[tuple[float, float]]:
    """For each seed: the share of the hypervolume that the search covers, and that random networks cover."""
    run = workspace.run
    goals = objectives(workspace, [known])
    optimised = [goal for goal in goals if goal.optimise]
    found = [
        tuple(
            walk(
                workspace.net.space,
                goals,
                replace(run.options.search, seed=seed),
                run.search / (f"{seed}-{name}" if seed else name),
            ).evaluations
            for walk, name in ((search, ARCHIVE), (random_search, "random.sqlite"))
        )
        for seed in range(seeds)
    ]
    values = np.concatenate([matrix(evaluations, optimised) for pair in found for evaluations in pair])
    signs = np.array([goal.sign for goal in optimised])
    worst, best = (values * signs).max(axis=0), (values * signs).min(axis=0)
    box = float(np.prod(worst - best))
    shares = [[hypervolume(e, optimised, list(worst * signs)) / box for e in pair] for pair in found]
    return [(share, random) for share, random in shares]


def compare(
    data: Dataset, model: SupernetOptions, options: TrainOptions
) -> list[dict[str, float | str | int]]:
    """Test accuracy in percent of the two ends of a supernet, and of the same networks trained alone."""
    together, seconds = trained(data, model, options)
    rows: list[dict[str, float | str | int]] = []
    for role, arch in (("largest", together.space.largest()), ("smallest", together.space.smallest())):
        alone, alone_seconds = trained(data, model, options, Standalone(arch.genes))
        rows.append(
            {
                "seed": options.seed,
                "network": role,
                "subnet": accuracy(together, data, arch),
                "alone": accuracy(alone, data, arch),
                "test examples": data.count("test"),
                "supernet cpu s": seconds,
                "alone cpu s": alone_seconds,
            }
        )
    return rows


def trained(
    data: Dataset, model: SupernetOptions, options: TrainOptions, strategy: Strategy | None = None
) -> tuple[Supernet, float]:
    """A supernet trained by a strategy, and the CPU seconds it took."""
    net = build(model, data.task, seed=options.seed)
    start = time.process_time()
    Trainer(net, data, replace(options, evaluate_every=options.epochs), strategy=strategy).run()
    return net, time.process_time() - start


def accuracy(net: Supernet, data: Dataset, arch: Architecture) -> float:
    """Percent of the test split."""
    return Evaluator(net, data, "test")(arch).value


if __name__ == "__main__":
    main()
