"""The guided search beside what else one would install: pymoo's NSGA-II, Optuna's NSGA-II and TPE, LINAS, and chance.

    python -m benchmarks.search_peers --kit DIR --device NAME [--evals 100,250,500,1000] [--seeds 5] [--peers A,B]

``P.share.N``: share of the reference hypervolume that the first N networks of peer ``P`` cover, mean over seeds, and
``P.worst_share.N`` of the worst seed, on the task and by the yardstick of `benchmarks.search`; ``P.cpu_seconds`` of one
search. A network that a peer asks for twice is paid for once. pymoo has the operators of DyNAS-T (simulated binary
crossover and polynomial mutation, rounded), Optuna its own with integer parameters (left out where it is not
installed: ``pip install 'supernet[peers]'``). ``linas`` is the loop of Cummings et al. (arXiv:2205.10358) in our
words: a support vector machine learns the accuracy of what was evaluated, NSGA-II searches on it, and the next 50
are the best by rank.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contract import Result, arguments
from benchmarks.search import summarise
from benchmarks.search_kit import SearchKit, Yardstick, add_task, load_kit, yardstick
from search.engine import search
from search.evolution import Scored, best_first, evolve
from search.objective import Values
from search.operators import options_of, sample_genes
from search.options import SearchOptions
from supernet.space import Genes

POPULATION = 50
Peer = Callable[["Task", int, int], None]
"""Searches a task for so many networks with a seed; the task remembers what it was asked for."""


class Enough(Exception):
    """The budget is spent."""


class Task:
    """Accuracy and latency of the kit's networks; remembers which were paid for, in order.

    Args:
        kit: the oracle.
        device: whose latencies.
        budget: networks that may be paid for.
    """

    def __init__(self, kit: SearchKit, device: str, budget: int) -> None:
        self.kit, self.device, self.budget = kit, device, budget
        self.paid: dict[bytes, Values] = {}

    @property
    def losses(self) -> Values:
        """Of what was paid for, in that order ``(networks, 2)``."""
        return np.array(list(self.paid.values()))[: self.budget]

    def __call__(self, genes: Genes) -> Values:
        """Negative accuracy and latency of canonical genes ``(networks, 2)``.

        Raises:
            Enough: when the budget is spent.
        """
        keys = [row.tobytes() for row in genes]
        fresh = {key: i for i, key in enumerate(keys) if key not in self.paid}
        if fresh:
            found = self.kit.losses(genes[list(fresh.values())], self.device)
            self.paid |= dict(zip(fresh, found))
        if len(self.paid) >= self.budget:
            raise Enough
        return np.array([self.paid[key] for key in keys])


def pymoo(task: Task, evaluations: int, seed: int) -> None:
    """NSGA-II as pymoo has it, with the operators of DyNAS-T."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    space = task.kit.space

    class Subnets(Problem):  # type: ignore[misc]
        """Integer genes, two losses."""

        def _evaluate(self, x: Any, out: Any, *args: Any, **kwargs: Any) -> None:
            out["F"] = task(space.canonical(np.asarray(x, dtype=np.int64)))

    problem = Subnets(n_var=len(space), n_obj=2, xl=0, xu=options_of(space) - 1, vtype=int)
    algorithm = NSGA2(
        pop_size=POPULATION,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=0.9, eta=15.0, vtype=float, repair=RoundingRepair()),
        mutation=PM(prob=1.0, eta=20.0, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    minimize(problem, algorithm, ("n_eval", 20 * evaluations), seed=seed)


def optuna_nsga2(task: Task, evaluations: int, seed: int) -> None:
    """Optuna's NSGA-II."""
    import optuna

    _optuna(task, evaluations, optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed))


def optuna_tpe(task: Task, evaluations: int, seed: int) -> None:
    """Optuna's tree-structured Parzen estimator."""
    import optuna

    _optuna(task, evaluations, optuna.samplers.TPESampler(seed=seed))


def _optuna(task: Task, evaluations: int, sampler: Any) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = task.kit.space
    most = options_of(space) - 1

    def judge(trial: Any) -> tuple[float, float]:
        """One network."""
        row = [trial.suggest_int(str(i), 0, int(high)) for i, high in enumerate(most)]
        accuracy, latency = task(space.canonical(np.array([row], dtype=np.int64)))[0]
        return float(accuracy), float(latency)

    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    study.optimize(judge, n_trials=3 * evaluations)


def linas(task: Task, evaluations: int, seed: int) -> None:
    """An accuracy model searched by NSGA-II, whose best by rank are evaluated next."""
    from sklearn.svm import SVR

    space, rng = task.kit.space, np.random.default_rng([seed, 9])
    options = options_of(space)
    columns = np.eye(int(options.max()))

    def encoded(genes: Genes) -> Values:
        """One column for each value of each choice."""
        return np.asarray(columns[genes].reshape(len(genes), -1), dtype=np.float64)

    def learned(genes: Genes, known: Values) -> Callable[[Genes], Scored]:
        """Accuracy as a model has it, latency as it is."""
        centre, scale = known[:, 0].mean(), known[:, 0].std()
        model = SVR(C=10.0, epsilon=0.01).fit(encoded(genes), (known[:, 0] - centre) / scale)

        def judge(some: Genes) -> Scored:
            """Candidates, without paying for them."""
            accuracy = model.predict(encoded(some)) * scale + centre
            latency = task.kit.latency_ms(some, task.device)
            return Scored(some, np.stack([accuracy, latency], axis=1), np.zeros((len(some), 1)))

        return judge

    genes = sample_genes(space, POPULATION, rng)
    known = task(genes)
    while True:
        found = evolve(space, learned(genes, known), sample_genes(space, 200, rng), rng, generations=50)
        found = found.rows(np.array([row.tobytes() not in task.paid for row in found.genes]))
        chosen = found.genes[best_first(found, POPULATION)]
        genes, known = np.concatenate([genes, chosen]), np.concatenate([known, task(chosen)])


def chance(task: Task, evaluations: int, seed: int) -> None:
    """Networks drawn at random."""
    task(sample_genes(task.kit.space, 2 * evaluations, np.random.default_rng([seed, 8])))


def ours(task: Task, evaluations: int, seed: int) -> None:
    """The guided search."""
    options = SearchOptions(evaluations=evaluations, seed=seed, batch=50)
    with tempfile.TemporaryDirectory() as folder:
        goals = task.kit.objectives(task.device)
        seen = search(task.kit.space, goals, options, Path(folder) / "archive").evaluations
    task(task.kit.space.matrix([evaluation.arch for evaluation in seen]))


PEERS: dict[str, Peer] = {
    "guided": ours,
    "pymoo": pymoo,
    "optuna_nsga2": optuna_nsga2,
    "optuna_tpe": optuna_tpe,
    "linas": linas,
    "random": chance,
}


def main() -> None:
    """Run the benchmark."""
    parser = arguments("search_peers", __doc__.partition("\n")[0])
    add_task(parser)
    parser.add_argument("--peers", default=",".join(PEERS), help="some, separated by commas")
    args = parser.parse_args()
    if args.quick:
        args.evals, args.seeds, args.looks = "60,80", 1, 3_000
    budgets = sorted(int(number) for number in args.evals.split(","))
    kit = load_kit(args.kit, args.oracle)
    args.device = args.device or kit.devices[0]
    result = Result("search_peers", vars(args))
    measure = yardstick(kit, args.device, looks=args.looks)
    for name in args.peers.split(","):
        if name.startswith("optuna") and not find_spec("optuna"):
            continue
        rows = [one(kit, measure, args.device, name, seed, budgets) for seed in range(args.seeds)]
        result.rows += rows
        summarise(result, rows, f"{name}.", budgets)
    result.finish(args.json)


def one(
    kit: SearchKit, measure: Yardstick, device: str, name: str, seed: int, budgets: list[int]
) -> dict[str, Any]:
    """The shares of one search of one peer after each budget."""
    task, start = Task(kit, device, max(budgets)), time.process_time()
    with suppress(Enough):
        PEERS[name](task, max(budgets), seed)
    seconds = time.process_time() - start
    shares = {f"share.{budget}": measure.share(task.losses[:budget]) for budget in budgets}
    return {"peer": name, "seed": seed, **shares, "cpu s": seconds}


if __name__ == "__main__":
    main()
