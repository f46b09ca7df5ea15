"""How many networks the guided search tries on its models a second, and what a generation of NSGA-II costs.

    python -m benchmarks.search_speed [--known 300] [--kit DIR] [--repeats 5] [--json FILE]

``candidates_per_second``: proposed, two objectives of each predicted by Gaussian processes of ``--known``
measurements, and a batch selected, on one core (in CPU seconds); fitting is not in it (``fit_seconds``).
``nsga2_ms_per_generation_1000``: of the searcher ``nsga2`` with a population of 1,000, archive included, on
an evaluated and an exact objective that take no time. Both are medians.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.contract import Result, arguments
from benchmarks.search_kit import SearchKit, load_kit
from search.engine import search
from search.evolution import Aim, best_first, evolve, scored
from search.guided import Models, batch
from search.objective import Objective
from search.operators import sample_genes
from search.options import SearchOptions


def main() -> None:
    """Run the benchmark."""
    parser = arguments("search_speed", __doc__.partition("\n")[0])
    parser.add_argument("--kit", type=Path, metavar="DIR", help="folder with kit.py; made up when left out")
    parser.add_argument("--known", type=int, default=300, help="measurements the models have learned from")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--generations", type=int, default=20, help="of NSGA-II")
    args = parser.parse_args()
    if args.quick:
        args.known, args.repeats, args.generations = 60, 1, 3
    result = Result("search_speed", vars(args))
    kit = load_kit(args.kit)
    inner(result, kit, args.known, args.repeats)
    spent = [generations(kit, args.generations) for _ in range(args.repeats)]
    result.figures["nsga2_ms_per_generation_1000"] = statistics.median(spent)
    result.finish(args.json)


def inner(result: Result, kit: SearchKit, known: int, repeats: int) -> None:
    """Time the search on the models."""
    device = kit.devices[0]
    dear = (
        Objective("accuracy", "%", "max", kit.accuracy),
        Objective("latency", "ms", "min", lambda genes: kit.latency_ms(genes, device)),
        *kit.costs(),
    )
    genes = sample_genes(kit.space, known, np.random.default_rng(0))
    values = np.stack([objective(genes) for objective in dear], axis=1)
    models, here = Models(kit.space, dear), scored(dear, genes, values)
    start = time.process_time()
    models.fit(genes, values)
    result.figures["fit_seconds"] = time.process_time() - start
    rates = []
    for seed in range(repeats):
        start = time.process_time()
        found = evolve(kit.space, models.judge, genes[:100], np.random.default_rng(seed))
        batch(here, found.rows(best_first(found, 3000)), 50, [Aim([0, 1])])
        rates.append(len(found) / (time.process_time() - start))
    result.figures["candidates_per_second"] = statistics.median(rates)


def generations(kit: SearchKit, count: int) -> float:
    """Milliseconds of a generation of 1,000, the archive on disk included."""
    spread = np.linspace(1, 2, len(kit.space))
    cheap = (
        Objective("gain", "", "max", lambda genes: genes @ spread),
        Objective("cost", "", "min", lambda genes: genes @ spread[::-1] ** 2, source="exact"),
    )
    with tempfile.TemporaryDirectory() as folder:
        seconds = []
        for further in (1, 1 + count):
            options = SearchOptions(searcher="nsga2", evaluations=1000 * further, population=1000, batch=1000)
            start = time.process_time()
            search(kit.space, cheap, options, Path(folder) / f"{further}")
            seconds.append(time.process_time() - start)
    return 1e3 * (seconds[1] - seconds[0]) / count


if __name__ == "__main__":
    main()
