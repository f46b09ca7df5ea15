"""The search itself: NSGA-II that never evaluates a network twice and can be killed at any moment.

There is no checkpoint. A run is determined by its seed and by the values it is told, and all values are
in the archive: the same command walks the same path again, answered from disk, until it comes to the
first network nobody has evaluated. So a resumed run ends at the numbers of an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.population import Population
from pymoo.core.termination import NoTermination

from search.archive import Archive, Evaluation
from search.evaluate import Evaluator, Progress
from search.feasible import feasible_start, why_infeasible
from search.front import front
from search.objective import InfeasibleError, Objective, check_objectives
from search.operators import Canonical, RandomReset, StartWith, UniformMix, Unseen, draw, ends
from search.options import SearchOptions
from search.problem import SubnetProblem
from supernet.space import Genes, SearchSpace

Walk = Callable[[Evaluator, SearchOptions, Genes], None]


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Args:
        evaluations: every network it looked at, in order; values are NaN where a cheap limit ruled it out.
        front: the non-dominated ones within every limit, sorted by cost.
        objectives: what the values mean.
        paid: networks whose expensive objectives are known to this run.
        scored: expensive scores computed now, rather than read from the archive.
    """

    evaluations: tuple[Evaluation, ...]
    front: tuple[Evaluation, ...]
    objectives: tuple[Objective, ...]
    paid: int
    scored: int


def search(
    space: SearchSpace,
    objectives: Sequence[Objective],
    options: SearchOptions,
    archive_path: Path,
    *,
    subject: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """The Pareto front of a space by NSGA-II (Deb et al. 2002), from an archive on disk.

    Called again with the same arguments it goes on; with more evaluations it goes further.

    Args:
        objectives: at least one to optimise; ``Objective.limit`` makes constraints.
        archive_path: where evaluations are kept, one JSON line each.
        subject: what values depend on besides the architecture, such as hashes of weights and predictor.
        progress: called with networks evaluated and the most there will be.

    Raises:
        InfeasibleError: when no network meets the limits; it names the tight one and the nearest value.
        StateError: when the archive is of another search, or damaged.
    """
    return _run(_evolve, space, objectives, options, archive_path, subject, progress)


def random_search(
    space: SearchSpace,
    objectives: Sequence[Objective],
    options: SearchOptions,
    archive_path: Path,
    *,
    subject: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """The baseline every search has to beat: as many networks, drawn at random, through the same code.

    Arguments and errors are those of `search`. It does not repeat a network and skips those beyond a
    cheap limit for free, as the search does.
    """
    return _run(_draw_all, space, objectives, options, archive_path, subject, progress)


def _run(
    walk: Walk,
    space: SearchSpace,
    objectives: Sequence[Objective],
    options: SearchOptions,
    archive_path: Path,
    subject: Mapping[str, str] | None,
    progress: Progress | None,
) -> SearchResult:
    checked = check_objectives(objectives)
    start = feasible_start(space, checked, options.population, np.random.default_rng([options.seed, 1]))
    with Archive(archive_path, space, checked, subject) as archive:
        evaluator = Evaluator(
            space, checked, archive, budget=options.evaluations, batch=options.batch, progress=progress
        )
        walk(evaluator, options, start)
        seen = tuple(evaluator.evaluations())
    best = tuple(front(seen, checked))
    if not best:
        raise InfeasibleError(why_infeasible(checked, evaluator.matrix(), len(seen)))
    return SearchResult(seen, best, checked, evaluator.paid, evaluator.scored)


def _evolve(evaluator: Evaluator, options: SearchOptions, start: Genes) -> None:
    problem = SubnetProblem(evaluator.space, evaluator.objectives)
    algorithm = _nsga2(evaluator, options, np.concatenate([ends(evaluator.space), start]))
    algorithm.setup(problem, termination=NoTermination(), seed=options.seed)
    strangers = np.random.default_rng([options.seed, 2])
    idle = 0
    while evaluator.left > 0 and idle < options.patience:
        population = algorithm.ask()
        if population is None:
            # every child of this population is known: go on with strangers, or end with the space
            algorithm.termination.force_termination = False
            population = Population.new("X", _fresh(evaluator, options, strangers))
        if not len(population):
            return
        paid = evaluator.paid
        kept, values = evaluator(population.get("X").astype(np.int64))
        algorithm.tell(infills=problem.answer(population[kept], values))
        idle = 0 if evaluator.paid > paid else idle + 1


def _nsga2(evaluator: Evaluator, options: SearchOptions, first: Genes) -> Any:
    space = evaluator.space
    return NSGA2(
        pop_size=options.population,
        sampling=StartWith(space, first),
        crossover=UniformMix(options.crossover),
        mutation=RandomReset(space, options.mutation or min(0.5, 1 / len(space))),
        repair=Canonical(space),
        eliminate_duplicates=Unseen(evaluator),
    )


def _draw_all(evaluator: Evaluator, options: SearchOptions, start: Genes) -> None:
    rng = np.random.default_rng([options.seed, 3])
    first = ends(evaluator.space)
    evaluator(first[evaluator.unseen(first)])
    idle = 0
    while evaluator.left > 0 and idle < options.patience:
        genes = _fresh(evaluator, options, rng)
        if not len(genes):
            return
        paid = evaluator.paid
        evaluator(genes)
        idle = 0 if evaluator.paid > paid else idle + 1


def _fresh(evaluator: Evaluator, options: SearchOptions, rng: np.random.Generator) -> Genes:
    """Random genomes nobody has seen; fewer than a population, or none, when the space is nearly used up."""
    genes = draw(evaluator.space, options.population * options.patience, rng)
    return genes[evaluator.unseen(genes)][: options.population]
