"""One search for several devices at once against one search for each.

    python -m benchmarks.search_devices --kit DIR [--devices A,B,...] [--evals 250] [--seeds 3] [--json FILE]

``share_together``: share of the reference hypervolume, mean over devices, of one search of N evaluations that sees all
latencies; ``share_separate_same_total``: of one search for each device, of N evaluations together;
``share_separate_third``: of as many with a third of N each. References and box are those of `benchmarks.search`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import mean

from benchmarks.contract import Result, arguments
from benchmarks.search_kit import SearchKit, Yardstick, load_kit, yardstick
from search.engine import search
from search.options import SearchOptions


def main() -> None:
    """Run the benchmark."""
    parser = arguments("search_devices", __doc__.partition("\n")[0])
    parser.add_argument("--kit", type=Path, metavar="DIR", help="folder with kit.py; made up when left out")
    parser.add_argument("--oracle", type=Path, metavar="FILE", help="arrays in place of the kit's own")
    parser.add_argument("--devices", help="separated by commas; the oracle's first four when left out")
    parser.add_argument("--evals", type=int, default=250, help="evaluations in all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--looks", type=int, default=50_000, help="networks of each reference evolution")
    args = parser.parse_args()
    if args.quick:
        args.evals, args.seeds, args.looks = 60, 1, 2_000
    kit = load_kit(args.kit, args.oracle)
    devices = args.devices.split(",") if args.devices else kit.devices[:4]
    args.devices = ",".join(devices)
    result = Result("search_devices", vars(args))
    measures = {device: yardstick(kit, device, looks=args.looks) for device in devices}
    total = args.evals
    for seed in range(args.seeds):
        row: dict[str, float | int] = {"seed": seed, "together": one(kit, measures, devices, total, seed)}
        for name, evaluations in (
            ("separate_same_total", total // len(devices)),
            ("separate_third", total // 3),
        ):
            row[name] = mean(one(kit, {d: measures[d]}, [d], evaluations, seed) for d in devices)
        result.rows.append(row)
    for name in ("together", "separate_same_total", "separate_third"):
        result.figures[f"share_{name}"] = mean(float(row[name]) for row in result.rows)
    result.finish(args.json)


def one(
    kit: SearchKit, measures: dict[str, Yardstick], devices: list[str], evaluations: int, seed: int
) -> float:
    """The share of one search, mean over its devices."""
    options = SearchOptions(evaluations=evaluations, seed=seed, batch=50)
    with tempfile.TemporaryDirectory() as folder:
        seen = search(kit.space, kit.objectives(*devices), options, Path(folder) / "archive").evaluations
    genes = kit.space.matrix([evaluation.arch for evaluation in seen])
    return mean(measures[device].share(kit.losses(genes, device)) for device in devices)


if __name__ == "__main__":
    main()
