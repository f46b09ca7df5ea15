"""How true a supernet is: its subnets beside the same networks trained alone, for as long and on as many images.

    python -m benchmarks.fidelity --data folder:PATH --resolution 32 --strategies sandwich,single_path [--jobs 2]

A spread of subnets, from the smallest to the largest, is trained alone with the same recipe; for each strategy ``S``
(``sandwich``, or with options ``sandwich/distil_weight=0.5``) a supernet is trained once per seed. All are judged on
the test split, in percent of its images. Figures:

- ``S.gap_equal_steps``: points that a subnet is behind the same network trained alone for as many steps; the mean over
  subnets and seeds, negative is ahead. ``S.gap_equal_steps_spread``: standard deviation of its mean over the seeds.
- ``S.gap_equal_images``: alone it trains for as many images as all lessons of the supernet saw (to the nearest epoch).
- ``S.tau``: Kendall's tau between the accuracies inside and alone (the latter the mean over seeds), the mean over
  seeds; ``S.tau_low`` and ``S.tau_high`` are 95 % of what it is when the subnets are drawn anew, with repeats.
- ``S.seconds_ratio``: CPU time of the supernet over that of the largest alone.
- ``alone.spread``: points between the best and the worst subnet, alone; ``alone.noise``: standard deviation over seeds;
  ``alone.tau``: between one seed and the mean of the others, about the most that a supernet can reach.

Every training is kept in ``--folder`` under what it depends on: the same command goes on where it was stopped, and
another strategy is compared with the same networks trained alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from math import isnan, nan
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.contract import Result, arguments
from benchmarks.fidelity_runs import Bench, Outcome, Setup, Training, outcomes, variant
from hardware.sampling import spread
from supernet.config import decode, override
from supernet.options import Plain, TrainOptions
from supernet.space import Architecture
from zoo.pipeline.options import RunOptions

SPACES = {
    "mobile": "supernet.options.expands=[1,2,4]",
    "resnet18": "supernet.options={channels=[16,32,48,64],output_stride=8,layers=[3,3,3,3],dims=['hidden','depth']}",
}
"""Of some models: small ones for small images, with subnets that are unlike enough to be ranked."""
RESAMPLES = 1000

Table = NDArray[np.float64]
"""Accuracies, ``(seeds, subnets)``."""


def main() -> None:
    """Run the benchmark."""
    args = _arguments().parse_args()
    torch.set_num_threads(1)
    if args.quick:
        args.model, args.epochs, args.seeds, args.subnets, args.equal_images = "mobile", 2, 1, 3, 2
        args.set = ["supernet.options.widths=[8,8,12]", "supernet.options.depths=[1,2]", *args.set]
    result = Result("fidelity", vars(args))
    options = _options(args)
    bench = Bench(Setup(options.data, options.supernet, args.images_per_class))
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or (Path(scratch) if args.quick else Path("runs/fidelity"))
        compare(bench, options.train, args, result, folder)
    result.finish(args.json)


def _arguments() -> argparse.ArgumentParser:
    parser = arguments("fidelity", __doc__.partition("\n")[0])
    parser.add_argument("--data", default="digits", help="as `supernet train --data`")
    parser.add_argument("--resolution", type=int, help="side of the images in pixels")
    parser.add_argument("--images-per-class", type=int, help="of the train split, at most")
    parser.add_argument("--model", default="resnet18", help="a preset or a timm model")
    parser.add_argument(
        "--strategies", default="sandwich,single_path", help="with options: NAME/option=value/.."
    )
    parser.add_argument("--epochs", type=int, default=20, help="of the supernets")
    parser.add_argument("--seeds", type=int, default=3, help="of every training")
    parser.add_argument("--subnets", type=int, default=12, help="trained alone for as many steps")
    parser.add_argument(
        "--equal-images", type=int, default=4, help="of those, also for as many images; 0 for none"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="as `supernet train --set`"
    )
    parser.add_argument("--folder", type=Path, help="keeps what was trained; runs/fidelity by default")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    return parser


def _options(args: argparse.Namespace) -> RunOptions:
    changes = [
        f"data.source={args.data!r}",
        f"supernet.model={args.model!r}",
        f"train.epochs={args.epochs}",
        *([f"data.resolution={args.resolution}"] if args.resolution else []),
        *([SPACES[args.model]] if args.model in SPACES else []),
    ]
    return decode(override({}, [*changes, *args.set]), RunOptions)


def compare(
    bench: Bench, train: TrainOptions, args: argparse.Namespace, result: Result, folder: Path
) -> None:
    """Train what is missing, and fill in the figures and rows."""
    archs, macs = subnets(bench, args.subnets)
    seeds, names = range(args.seeds), args.strategies.split(",")
    judged = tuple(arch.genes for arch in archs)
    supernets = [
        Training(replace(variant(name, train), seed=seed), judged) for name in names for seed in seeds
    ]
    alone = [_alone(train, genes, seed) for seed in seeds for genes in judged]
    found = outcomes(bench, [*supernets, *alone], folder, args.jobs)
    inside, beside = found[: len(supernets)], found[len(supernets) :]
    few = _evenly(len(archs), args.equal_images)
    longer = [
        _alone(replace(train, epochs=_epochs(train.epochs, outcome)), judged[i], training.options.seed)
        for training, outcome in zip(supernets, inside)
        for i in few
    ]
    for_images = table(outcomes(bench, longer, folder, args.jobs), len(names), len(seeds), len(few))
    sign = 1 if bench.data.task.measures[0].sense == "max" else -1
    steps = sign * table(beside, len(seeds), len(archs))
    result.figures |= alone_figures(steps)
    for number, name in enumerate(names):
        own = inside[number * len(seeds) : (number + 1) * len(seeds)]
        within, images = sign * table(own, len(seeds), len(archs)), sign * for_images[number]
        figures = gaps(within, steps, images, few) | ranked(within, steps)
        figures |= seconds_ratio(own, beside[len(archs) - 1 :: len(archs)])
        result.figures |= {f"{name}.{key}": value for key, value in figures.items()}
        result.rows += _rows(name, sign * within, sign * steps, sign * images, few, macs)


def subnets(bench: Bench, count: int) -> tuple[list[Architecture], list[int]]:
    """An even spread from the smallest to the largest, in the order of their multiply-adds, and these."""
    net = bench.supernet(0)
    costs = net.costs(None if net.example is not None else bench.data.task.example_inputs())
    archs = spread(net.space, count, 0, costs.macs)
    macs = costs.macs(net.space.matrix(archs)).tolist()
    order = sorted(range(len(archs)), key=macs.__getitem__)
    return [archs[i] for i in order], [macs[i] for i in order]


def _alone(train: TrainOptions, genes: tuple[int, ...], seed: int) -> Training:
    options: dict[str, Plain] = {"genes": list(genes)}
    return Training(replace(train, strategy="alone", strategy_options=options, seed=seed), (genes,))


def _epochs(epochs: int, supernet: Outcome) -> int:
    """Those in which one network sees as many images as all the lessons of a supernet did."""
    return max(1, round(epochs * supernet.batches))


def _evenly(count: int, few: int) -> list[int]:
    """Positions of a few among many, both ends included."""
    return sorted({round(i) for i in np.linspace(0, count - 1, few)})


def table(found: Sequence[Outcome], *shape: int) -> Table:
    """The accuracies of trainings, one row for each."""
    return np.array([outcome.scores for outcome in found], dtype=np.float64).reshape(shape)


def gaps(inside: Table, alone: Table, images: Table, few: Sequence[int]) -> dict[str, float]:
    """Mean points behind the same networks alone.

    Args:
        inside: the supernet's.
        alone: trained for as many steps.
        images: trained for as many images, ``(seeds, few)``.
        few: which of the subnets these are.
    """
    by_seed = (alone - inside).mean(axis=1)
    found = {"gap_equal_steps": float(by_seed.mean())}
    if len(by_seed) > 1:
        found["gap_equal_steps_spread"] = stdev(by_seed.tolist())
    if few:
        found["gap_equal_images"] = float((images - inside[:, few]).mean())
    return found


def ranked(inside: Table, alone: Table, seed: int = 0) -> dict[str, float]:
    """Kendall's tau and its bootstrap interval; nothing where it is not defined."""
    rng = np.random.default_rng(seed)
    count = inside.shape[1]
    drawn = [rng.integers(count, size=count) for _ in range(RESAMPLES)]
    again = [tau(inside[:, chosen], alone[:, chosen]) for chosen in drawn]
    known = [value for value in again if not isnan(value)]
    whole = tau(inside, alone)
    if isnan(whole) or not known:
        return {}
    low, high = np.percentile(known, [2.5, 97.5]).tolist()
    return {"tau": whole, "tau_low": low, "tau_high": high}


def tau(inside: Table, alone: Table) -> float:
    """Mean over seeds of Kendall's tau with what the networks alone reach on average; nan when undefined."""
    return mean(kendall(row, alone.mean(axis=0)) for row in inside)


def kendall(a: Table, b: Table) -> float:
    """Kendall's tau-b, as SciPy has it; without its p-value it is quick enough to be bootstrapped."""
    above, below = (np.sign(values[:, None] - values[None]) for values in (a, b))
    pairs = np.sqrt((above**2).sum() * (below**2).sum())
    return float((above * below).sum() / pairs) if pairs else nan


def alone_figures(alone: Table) -> dict[str, float]:
    """How unlike the networks are, and how well one seed ranks them as the others do."""
    means = alone.mean(axis=0)
    found = {"alone.spread": float(np.ptp(means))}
    if len(alone) > 1:
        found["alone.noise"] = float(alone.std(axis=0, ddof=1).mean())
        taus = [tau(alone[[i]], np.delete(alone, i, axis=0)) for i in range(len(alone))]
        found |= {} if isnan(mean(taus)) else {"alone.tau": mean(taus)}
    return found


def seconds_ratio(supernets: Sequence[Outcome], largest: Sequence[Outcome]) -> dict[str, float]:
    """CPU time of the supernets over that of the largest network alone; nothing where one was interrupted."""
    ours, theirs = ([outcome.seconds for outcome in each] for each in (supernets, largest))
    if None in ours or None in theirs:
        return {}
    return {"seconds_ratio": sum(filter(None, ours)) / sum(filter(None, theirs))}


def _rows(
    name: str, inside: Table, alone: Table, images: Table, few: Sequence[int], macs: Sequence[int]
) -> list[dict[str, Any]]:
    rows = []
    for i, cost in enumerate(macs):
        row = {"strategy": name, "million MACs": cost / 1e6, "inside": float(inside[:, i].mean())}
        row["alone, equal steps"] = float(alone[:, i].mean())
        if i in few:
            row["alone, equal images"] = float(images[:, few.index(i)].mean())
        if len(alone) > 1:
            row["spread inside"], row["spread alone"] = (float(t[:, i].std(ddof=1)) for t in (inside, alone))
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
