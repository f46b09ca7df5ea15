"""How well accuracies are predicted from some that were measured, and how long learning takes.

    python -m benchmarks.accuracy_predictor --tables FILE --n 50,100,200,500,1000 --seeds 10 [--json FILE]

The tables are measured ImageNet accuracies of OFA-MobileNetV3 subnets (rows of DyNAS-T), with their multiply-adds and
parameters. Of every seed's permutation ``n`` rows are learned from, and up to 400 of the others predicted.

``tau.N``: Kendall's. ``mae.N``: percentage points. ``fit_seconds.N``: processor time of one fit, the median.
``coverage90.N``: share inside the 90 % intervals. Peers, same rows: DyNAS-T's own grid of ridge and SVR .804 / .871 /
.921 / .947 / .955 at 50 / 100 / 200 / 500 / 1000, CatBoost .900 / .918 / .936 at 50 / 100 / 200.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import mean, median

import numpy as np
from numpy.typing import NDArray

from benchmarks.contract import Result, arguments
from benchmarks.search_kit import genes_of_kit, ofa_space
from predictors.estimate import Cost, predictors
from predictors.validate import compare
from supernet.space import Genes

TESTED = 400


def main() -> None:
    """Run the benchmark."""
    parser = arguments("accuracy_predictor", __doc__.partition("\n")[0])
    parser.add_argument(
        "--tables", type=Path, default=Path("../shared/data/search/tables.npz"), metavar="FILE"
    )
    parser.add_argument("--n", default="50,100,200,500,1000", help="accuracies to learn from")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--predictor", default="process", help=f"one of {', '.join(predictors)}")
    args = parser.parse_args()
    result = Result("accuracy_predictor", vars(args))
    if args.quick:
        args.n, args.seeds = "50,100", 1
        tables = made_up()
    else:
        with np.load(args.tables, allow_pickle=False) as file:
            tables = {name: file[name] for name in ("acc_genome", "top1", "macs", "params")}
    for count in (int(n) for n in args.n.split(",")):
        found = [trial(tables, args.predictor, count, seed) for seed in range(args.seeds)]
        row = {key: mean(one[key] for one in found) for key in ("tau", "spearman", "mae", "coverage90")}
        row["fit_seconds"] = median(one["fit_seconds"] for one in found)
        result.rows.append({"n": count, "predictor": args.predictor, **row})
        result.figures |= {f"{key}.{count}": value for key, value in row.items()}
    result.finish(args.json)


def made_up(count: int = 600) -> dict[str, NDArray[np.generic]]:
    """Tables like those, of a rule: every layer adds its own, and less the more there is already."""
    rng = np.random.default_rng(0)
    genomes = np.unique(ofa_space().canonical(rng.integers(0, 3, (count, 45))), axis=0)
    sums = genomes @ rng.uniform(size=45)
    return {
        "acc_genome": genomes,
        "top1": 70 + 3 * np.sqrt(sums),
        "macs": 1e6 * (1 + sums),
        "params": 1e3 + sums,
    }


def trial(tables: dict[str, NDArray[np.generic]], name: str, count: int, seed: int) -> dict[str, float]:
    """One fit, and how far off it is."""
    space = ofa_space()
    genes, top1 = genes_of_kit(space, tables["acc_genome"]), tables["top1"].astype(np.float64)
    macs, params = (looked_up(genes, tables[cost]) for cost in ("macs", "params"))
    order = np.random.default_rng(seed).permutation(len(genes))
    learned, tested = order[:count], order[count:][-TESTED:]
    options = {} if name == "tabular" else {"positive": False}
    if name == "graph_network":  # the tables tell no costs of architectures that are not in them
        options["pretrain"] = False
    predictor = predictors[name](space, macs=macs, params=params, unit="%", **options)
    began = time.process_time()
    predictor.fit(genes[learned], top1[learned])
    seconds = time.process_time() - began
    found = predictor.predict(genes[tested])
    off = compare(found, top1[tested])
    mae = float(np.abs(found.mean - top1[tested]).mean())
    figures = {"tau": off.kendall, "spearman": off.spearman, "mae": mae, "coverage90": off.coverage}
    return figures | {"fit_seconds": seconds}


def looked_up(genes: Genes, exact: NDArray[np.generic]) -> Cost:
    """An exact cost that the table tells of its own architectures."""
    known = {row.tobytes(): float(value) for row, value in zip(genes, exact.tolist())}
    return lambda asked: np.array([known[row.tobytes()] for row in asked])


if __name__ == "__main__":
    main()
