"""Whether a profile repeats, what can be learned from it, and what of its time goes into exporting.

    python -m benchmarks.profiler [--subnets 40] [--unseen 20] [--json FILE]

Subnets of the quickstart's supernet, untrained (weights cost no time), are profiled twice on this machine.
``within_spread`` is the share of second latencies that lie as near to the first as the first profile says they will, 95
times in 100 (`Profile.second_ms`; ``stated_spread`` is its median, over the latency), and ``within_calls`` the share
between the 10th and the 90th percentile of the first's single calls; ``spearman`` ranks the two against each other.
A predictor is fitted on the first, and ``within10`` is the share of other subnets, which the first profile measured
too, that it puts within 10 %. ``export_share`` is how much of the CPU time of the first profile passed before the first
network was timed; ``export_ratio`` is the CPU time of a subnet's file over that of tracing a network by itself, which
every file took before graphs were cut.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from random import Random

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks.contract import Result, arguments
from hardware.export import export_onnx
from hardware.measurement import Profile
from hardware.options import ProfileOptions
from hardware.profiler import profile
from hardware.sampling import spread
from predictors import predictors
from predictors.validate import compare
from supernet.build import build
from supernet.elastic.supernet import Supernet
from supernet.options import DataOptions, SupernetOptions
from supernet.sources import load_data
from supernet.space import Architecture
from supernet.tasks.task import Task
from zoo.pipeline.options import PredictOptions


def main() -> None:
    """Run the benchmark."""
    parser = arguments("profiler", __doc__.partition("\n")[0])
    parser.add_argument("--data", default="digits", help="as `supernet train --data`")
    parser.add_argument("--subnets", type=int, default=40, help="profiled twice, and learned from")
    parser.add_argument("--unseen", type=int, default=20, help="predicted")
    parser.add_argument("--seconds", type=float, default=60.0, help="of measuring in each profile, at most")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.quick:
        args.subnets, args.unseen, args.seconds = 12, 4, 2.0
    result = Result("profiler", vars(args))
    task = load_data(DataOptions(source=args.data)).task
    net = build(SupernetOptions(), task, seed=0).eval()
    smallest, largest, *others = spread(net.space, args.subnets + args.unseen, cost=net.costs().macs)
    archs = [smallest, largest, *Random(0).sample(others, len(others))]
    with tempfile.TemporaryDirectory() as folder:
        run(result, net, task, (archs[: args.subnets], archs[args.subnets :]), Path(folder), args.seconds)
    result.finish(args.json)


def run(
    result: Result,
    net: Supernet,
    task: Task,
    archs: tuple[list[Architecture], list[Architecture]],
    folder: Path,
    seconds: float,
) -> None:
    """Profile known and unseen subnets, and the known ones once more."""
    known, unseen = archs
    options = ProfileOptions(subnets=len(known), seconds=seconds)
    clock = {"start": time.process_time()}

    def first_timed(step: str, done: int, total: int) -> None:
        """Note when exporting was over."""
        if step == "export":
            clock["exported"] = time.process_time()

    def measured(name: str, which: list[Architecture], against: Profile | None = None) -> Profile:
        """One profile."""
        return profile(
            net, which, lambda arch: task.example_inputs(net.input_values(arch)), folder / name,
            options=options, free_axes=task.free_axes, against=against, progress=first_timed,
        )  # fmt: skip

    first = measured("first", known + unseen)
    spent = clock["exported"] - clock["start"]
    result.figures["export_share"] = spent / (time.process_time() - clock["start"])
    result.figures["export_ratio"] = spent / len(first.measurements) / traced(net, task, known[0], folder)
    repeats(result, first, measured("second", known, first))
    learned(result, net, first, len(known))


def traced(net: Supernet, task: Task, arch: Architecture, folder: Path) -> float:
    """CPU seconds of one export by itself."""
    start = time.process_time()
    export_onnx(net.extract(arch).eval(), task.example_inputs(net.input_values(arch)), folder / "alone.onnx")
    return time.process_time() - start


def repeats(result: Result, first: Profile, second: Profile) -> None:
    """Hold the second measurement of every subnet against the first."""
    before = {once.arch: (once, stated) for once, stated in zip(first.measurements, first.second_ms)}
    for again in second.measurements:
        once, stated = before[again.arch]
        result.rows.append(
            {
                "subnet": again.arch[:12], "first ms": once.median_ms, "second ms": again.median_ms,
                "off": again.median_ms / once.median_ms - 1, "p10 ms": once.p10_ms, "p90 ms": once.p90_ms,
                "stated": stated / once.median_ms, "inside": abs(again.median_ms - once.median_ms) <= stated,
                "among calls": once.p10_ms <= again.median_ms <= once.p90_ms,
            }
        )  # fmt: skip
    both = [np.array([row[f"{which} ms"] for row in result.rows]) for which in ("first", "second")]
    result.figures["within_spread"] = float(np.mean([row["inside"] for row in result.rows]))
    result.figures["within_calls"] = float(np.mean([row["among calls"] for row in result.rows]))
    result.figures["stated_spread"] = float(np.median([row["stated"] for row in result.rows]))
    result.figures["spearman"] = float(spearmanr(*both).statistic)
    result.figures["median_off"] = float(np.median(np.abs(both[1] / both[0] - 1)))


def learned(result: Result, net: Supernet, measured: Profile, known: int) -> None:
    """Fit a predictor on the leading measurements of a profile, and predict the others."""
    costs = net.costs()
    predictor = predictors[PredictOptions().predictor](net.space, macs=costs.macs, params=costs.params)
    genes, ms = measured.genes, measured.median_ms
    predictor.fit(genes[:known], ms[:known], measured.noise_ms[:known])
    result.figures["within10"] = compare(predictor.predict(genes[known:]), ms[known:]).within_10


if __name__ == "__main__":
    main()
