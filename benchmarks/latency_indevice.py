"""Latencies of a device from its own measurements alone.

    python -m benchmarks.latency_indevice --archs DIR --targets FILE --space nb201 \\
        --n 10,20,50,100,300,900 [--target-devices A,B] [--json FILE]

Of every device ``n`` architectures are measured, drawn at random, and 1,500 others (1,000 of HAT) are predicted.
``peer_spearman.N`` is of what one would write instead (`benchmarks.latency_peer`), on the same measurements.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks import latency_peer
from benchmarks.contract import Result, arguments
from benchmarks.latency_judge import Trial, summarise
from benchmarks.latency_tables import Networks, hat, latencies, made_up, networks
from predictors.estimate import Values
from predictors.tabular import Tabular

DATA = Path("../shared/data/latency")


def main() -> None:
    """Run the benchmark."""
    parser = arguments("latency_indevice", __doc__.partition("\n")[0])
    parser.add_argument("--archs", type=Path, default=DATA, metavar="DIR", help="with the *_archs.npz")
    parser.add_argument("--targets", type=Path, metavar="FILE", help="latencies of the devices to predict")
    parser.add_argument("--space", default="nb201", choices=("nb201", "fbnet", "ofa", "hat"))
    parser.add_argument("--target-devices", metavar="A,B", help="all of the file when absent")
    parser.add_argument("--n", default="10,20,50,100,300,900", help="measurements of a device")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    result = Result("latency_indevice", vars(args))
    with tempfile.TemporaryDirectory() as folder:
        if args.quick:
            args.archs, args.n, args.seeds, args.target_devices = made_up(Path(folder)), "10,20", 1, "one_1"
        rows = [
            trial(table, device, ms, count, seed)
            for device, (table, ms) in devices(args).items()
            for count in (int(n) for n in args.n.split(","))
            for seed in range(args.seeds)
        ]
    summarise(result, rows, "peer_spearman")
    result.finish(args.json)


def devices(args: argparse.Namespace) -> dict[str, tuple[Networks, Values]]:
    """What was measured of which networks, by device."""
    if args.space == "hat":
        known = hat(args.targets or args.archs / "hat_dev.npz")
    else:
        table = networks(args.space, args.archs)
        found = latencies(args.targets or args.archs / f"{args.space}_latency_dev.npz")
        known = {device: (table, ms) for device, ms in found.items()}
    names = args.target_devices.split(",") if args.target_devices else list(known)
    return {name: known[name] for name in names}


def trial(table: Networks, device: str, ms: Values, count: int, seed: int) -> dict[str, object]:
    """One fit, and how far off it is."""
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(table.live & (ms > 0)))
    tested = rows[-min(1500, len(rows) // 2) :]
    predictor = Tabular(table.space, macs=table.macs, features=table.features, seed=seed)
    row = Trial(device, table, ms, tested).row(predictor, rows[:count], seed)
    guessed = latency_peer.predict(table, rows[:count], ms[rows[:count]], tested)
    return row | {"peer_spearman": float(spearmanr(guessed, ms[tested]).statistic)}


if __name__ == "__main__":
    main()
