"""The search itself: any registered searcher, which never pays for a network twice and can be killed at any moment.

There is no checkpoint. A run is determined by its seed and by the values it is told, and all values are
in the archive: the same command walks the same path again, answered from disk, until it comes to the
first network nobody has evaluated. So a resumed run ends at the numbers of an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from search.archive import Archive, Evaluation
from search.evaluate import Progress, Scorer
from search.feasible import feasible_start, why_infeasible
from search.front import front
from search.objective import InfeasibleError, Objective, check_objectives
from search.options import SearchOptions
from search.searcher import Searcher, Terrain, searchers
from supernet.space import SearchSpace


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Args:
        evaluations: every network it looked at, in order; values are NaN where a cheap limit ruled it out.
        front: the non-dominated ones within every limit, sorted by cost.
        objectives: what the values mean.
        paid: networks whose expensive objectives are known to this run.
        scored: those of them whose expensive objectives were computed now, rather than read from the archive.
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
    """The Pareto front of a space by the searcher that the options name, from an archive on disk.

    Called again with the same arguments it goes on; with more evaluations it goes further.

    Args:
        objectives: at least one to optimise; ``Objective.limit`` makes constraints.
        archive_path: where evaluations are kept, one JSON line each.
        subject: what values depend on besides the architecture, such as hashes of weights and predictor.
        progress: called with networks evaluated and the most there will be.

    Raises:
        InfeasibleError: when no network meets the limits; it names the tight one and the nearest value.
        StateError: when the archive is of another search, or damaged.
        SupernetError: for a searcher that is not registered.
    """
    return _run(space, objectives, options, archive_path, subject, progress)


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
    drawn = replace(options, searcher="random")
    return _run(space, objectives, drawn, archive_path, subject, progress)


def _run(
    space: SearchSpace,
    objectives: Sequence[Objective],
    options: SearchOptions,
    archive_path: Path,
    subject: Mapping[str, str] | None,
    progress: Progress | None,
) -> SearchResult:
    checked, make = check_objectives(objectives), searchers[options.searcher]
    start = feasible_start(space, checked, options.population, np.random.default_rng([options.seed, 1]))
    with Archive(archive_path, space, checked, subject) as archive:
        evaluator = Scorer(
            space, checked, archive, budget=options.evaluations, batch=options.batch, progress=progress
        )
        _walk(make(Terrain(space, checked, options, start, evaluator.unseen)), evaluator, options.patience)
        seen = tuple(evaluator.evaluations())
    best = tuple(front(seen, checked))
    if not best:
        raise InfeasibleError(why_infeasible(checked, evaluator.matrix(), len(seen)))
    return SearchResult(seen, best, checked, evaluator.paid, evaluator.scored)


def _walk(searcher: Searcher, evaluator: Scorer, patience: int) -> None:
    """Ask, score and tell until the budget is spent, nothing is proposed, or nothing proposed is worth it."""
    idle = 0
    while evaluator.left > 0 and idle < patience:
        genes = searcher.ask()
        if not len(genes):
            return
        paid = evaluator.paid
        kept, values = evaluator(genes)
        searcher.tell(genes[kept], values)
        idle = 0 if evaluator.paid > paid else idle + 1
