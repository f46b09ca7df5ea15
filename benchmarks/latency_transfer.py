"""Latencies on a device never seen, from ten measurements and what other devices needed.

    python -m benchmarks.latency_transfer --archs DIR --references FILE --targets FILE --space nb201 \\
        --protocol help --n 10,20,50 [--target-devices A,B] [--reference-devices C,D] [--json FILE]

Every reference device's table becomes a predictor (its first rows, as many as HELP gives its devices). Of a target
device ``n`` architectures are measured, chosen D-optimally on the references' predictions among 500 of those rows, and
1,000 others are predicted: all of them (``--protocol full``) or the middle 80 % by true latency (``help``). A target
that is also in the references' file, or a device of the same family there (``titanx_1``, ``titanx_32``), is left out of
its own references.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.contract import Result, arguments
from benchmarks.latency_judge import Trial, summarise, trimmed
from benchmarks.latency_tables import Networks, latencies, made_up, networks
from hardware.sampling import d_optimal
from predictors.estimate import Archs, Estimate, Values
from predictors.process import Process
from predictors.tabular import Tabular
from supernet.space import Genes

DATA = Path("../shared/data/latency")
POOL = 500
"""Candidates among which is chosen; another draw for every seed."""
REFERENCE_ROWS = 1500
"""Measurements of each reference device that are learned from; more change nothing."""


def main() -> None:
    """Run the benchmark."""
    parser = arguments("latency_transfer", __doc__.partition("\n")[0])
    parser.add_argument("--archs", type=Path, default=DATA, metavar="DIR", help="with the *_archs.npz")
    parser.add_argument("--references", type=Path, metavar="FILE", help="latencies of known devices")
    parser.add_argument("--targets", type=Path, metavar="FILE", help="latencies of the devices to predict")
    parser.add_argument("--space", default="nb201", choices=("nb201", "fbnet", "ofa"))
    parser.add_argument("--target-devices", metavar="A,B", help="all of the file when absent")
    parser.add_argument("--reference-devices", metavar="A,B", help="all of the file when absent")
    parser.add_argument("--protocol", default="help", choices=("help", "full"))
    parser.add_argument("--n", default="10,20,50", help="measurements of the target device")
    parser.add_argument("--choice", default="d-optimal", choices=("d-optimal", "random"))
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    result = Result("latency_transfer", vars(args))
    with tempfile.TemporaryDirectory() as folder:
        if args.quick:
            args.archs, args.n, args.seeds, args.target_devices = (
                made_up(Path(folder)),
                "10",
                1,
                "one_1,two_32",
            )
        summarise(result, rows(args))
    result.finish(args.json)


def rows(args: argparse.Namespace) -> list[dict[str, object]]:
    """Every device, seed and number of measurements."""
    default = args.archs / f"{args.space}_latency_dev.npz"
    table = networks(args.space, args.archs)
    known = _picked(latencies(args.references or default), args.reference_devices)
    targets = _picked(latencies(args.targets or default), args.target_devices)
    references = {device: reference(table, ms) for device, ms in known.items()}
    found = []
    for device, ms in targets.items():
        others = {name: known for name, known in references.items() if _family(name) != _family(device)}
        for seed in range(args.seeds):
            tested, pool = split(table, seed)
            trial = Trial(device, table, ms, trimmed(ms, tested) if args.protocol == "help" else tested)
            for count in (int(n) for n in args.n.split(",")):
                measured = pool[:count]
                if args.choice == "d-optimal":
                    columns = np.log([other.predict(table.genes[pool]).mean for other in others.values()]).T
                    measured = pool[d_optimal(columns, count)]
                predictor = Tabular(
                    table.space, macs=table.macs, features=table.features, references=others, seed=seed
                )
                found.append(trial.row(predictor, measured, seed))
    return found


def split(table: Networks, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to predict and rows to choose from, in random order."""
    rng = np.random.default_rng(seed)
    unseen = rng.choice(np.arange(table.adapted, len(table.genes)), 1000, replace=False)
    pool = rng.permutation(np.flatnonzero(table.live[: table.adapted]))[:POOL]
    return unseen[table.live[unseen]], pool


@dataclass(frozen=True)
class Remembered:
    """A predictor of one table's architectures that has predicted them all before."""

    rows: dict[bytes, int]
    ms: Values

    def predict(self, archs: Archs) -> Estimate:
        """What was predicted of each."""
        assert isinstance(archs, np.ndarray)
        mean = self.ms[[self.rows[genes.tobytes()] for genes in archs]]
        return Estimate(mean, mean, mean, 0 * mean, "ms", 0.9)


def reference(table: Networks, ms: Values) -> Remembered:
    """A device as its first rows teach it."""
    first = np.flatnonzero(table.live[: table.adapted] & (ms[: table.adapted] > 0))[:REFERENCE_ROWS]
    predictor = Process(table.space, macs=table.macs, features=table.features)
    predictor.fit(table.genes[first], ms[first])
    batches = [predictor.predict(part).mean for part in np.array_split(table.genes, 10)]
    return Remembered(_rows(table.genes), np.concatenate(batches))


def _rows(genes: Genes) -> dict[bytes, int]:
    return {row.tobytes(): i for i, row in enumerate(genes)}


def _picked(devices: dict[str, Values], names: str | None) -> dict[str, Values]:
    return {name: devices[name] for name in names.split(",")} if names else devices


def _family(device: str) -> str:
    return device.rpartition("_")[0] or device


if __name__ == "__main__":
    main()
