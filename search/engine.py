"""The search itself: any registered searcher, which never pays for a network twice and can be killed at any moment.

Proposals are written down before they are evaluated, and values the moment they are known. What a searcher answers
depends on what is known, the seed and the number of batches before, so a search that goes on after a kill evaluates
what was in line and then walks the path of an undisturbed one. With several workers, networks are proposed ahead of
those that are being evaluated, by a count and not by the clock: the path is the same, whoever is done first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from search.archive import Archive, Evaluation, Evaluations
from search.dispatch import Dispatch
from search.ends import End, Ends
from search.feasible import feasible_start, why_infeasible
from search.front import front, held, matrix
from search.live import Live
from search.objective import InfeasibleError, Objective, check_objectives, feasible, views
from search.options import SearchOptions
from search.searcher import Searcher, Terrain, searchers
from search.trials import Progress, Trials
from search.workers import Make, Wanted, scores_of, workers
from supernet.space import SearchSpace


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Args:
        evaluations: every network whose values are known: what the archive knew before, then in the order evaluated.
        front: the non-dominated ones within every limit, of one label at least where there are several; sorted by
            cost.
        objectives: what the values mean.
        scored: networks that were evaluated now, rather than read from the archive.
        failed: networks of this search whose evaluation failed; `Archive.failures` says why.
        spent: networks of this search that were evaluated, now or earlier.
        ended: why it ended; a search that is only read did not.
    """

    evaluations: Evaluations
    front: tuple[Evaluation, ...]
    objectives: tuple[Objective, ...]
    scored: int
    failed: int = 0
    spent: int = 0
    ended: End | None = None

    @property
    def paid(self) -> int:
        """Networks whose values are known."""
        return len(self.evaluations)

    def anew(self, objectives: Sequence[Objective]) -> SearchResult:
        """The same evaluations, once what costs nothing has changed: a latency that is predicted by more measurements.

        Raises:
            InfeasibleError: see `met_front`.
        """
        seen = self.evaluations
        columns = [o(seen.genes) if o.cheap else matrix(seen, [o])[:, 0] for o in objectives]
        there = Evaluations(seen.space, objectives, seen.genes, np.stack(columns, axis=1))
        return replace(
            self, evaluations=there, front=met_front(there, objectives), objectives=tuple(objectives)
        )


def search(
    space: SearchSpace,
    objectives: Sequence[Objective],
    options: SearchOptions,
    archive_path: Path,
    *,
    make: Make | None = None,
    progress: Progress | None = None,
    curves: Path | None = None,
) -> SearchResult:
    """The Pareto front of a space by the searcher that the options name, from an archive on disk.

    Called again with the same arguments it goes on; with more evaluations it goes further; with other objectives,
    limits or another device it begins with everything that is known.

    Args:
        objectives: at least one to optimise; ``Objective.limit`` makes constraints.
        archive_path: where evaluations are kept (`search.archive`).
        make: makes the scores of what is evaluated in every worker, see `search.workers`; those of ``objectives`` are
            sent there when left out, and have to pickle.
        progress: called with networks evaluated and the most there will be.
        curves: a folder for TensorBoard, where the search shows how it goes (`search.live`); None for none.

    Raises:
        InfeasibleError: when no network meets the limits; it names the tight one and the nearest value.
        StateError: when the archive is of another space, in use by another search, or no archive.
        ConfigError: when the scores can not be sent to workers.
        SupernetError: for a searcher that is not registered, and when no network can be evaluated at all.
    """
    checked, propose = check_objectives(objectives), searchers[options.searcher]
    start = feasible_start(space, checked, options.population, np.random.default_rng([options.seed, 1]))
    with Archive(archive_path, space, write=True) as archive:
        trials = Trials(archive, checked, options, progress)
        with _staffed(options, make or partial(scores_of, checked)) as dispatch, Live(trials, curves) as live:
            terrain = Terrain(space, checked, options, start, live.expect)
            ended = walk(propose, terrain, trials, dispatch, live)
        seen = trials.evaluations()
    found = met_front(seen, checked)
    return SearchResult(seen, found, checked, trials.scored, trials.failed, trials.spent, ended)


def met_front(seen: Sequence[Evaluation], objectives: Sequence[Objective]) -> tuple[Evaluation, ...]:
    """The front of what was evaluated, where every label has some network within its limits.

    Raises:
        InfeasibleError: naming the tight limit of a front that is empty.
    """
    for view in views(objectives):
        goals = [objectives[i] for i in view]
        if not feasible(goals, held(seen, goals)).any():
            raise InfeasibleError(why_infeasible(goals, held(seen, goals), len(seen)))
    return tuple(front(seen, objectives))


def random_search(
    space: SearchSpace,
    objectives: Sequence[Objective],
    options: SearchOptions,
    archive_path: Path,
    *,
    make: Make | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """The baseline every search has to beat: networks drawn at random, through the same code.

    Arguments and errors are those of `search`; the archive should be one of its own.
    """
    drawn = replace(options, searcher="random")
    return search(space, objectives, drawn, archive_path, make=make, progress=progress)


def walk(propose: Searcher, terrain: Terrain, trials: Trials, dispatch: Dispatch, live: Live) -> End:
    """Propose and evaluate until the budget is spent, nothing is proposed, or another end is reached.

    The next networks are asked for when all but the last ``ahead`` of those before are evaluated, and by what these
    alone have shown: never by what happens to be done, so that there is one trajectory.
    """
    options, ahead = terrain.options, terrain.options.networks_ahead
    ends = Ends(options, live.growth)
    while True:
        ended = ends.reached(trials.scored)
        if ended is None:
            _hand_out(trials, dispatch)
        elif not dispatch.busy:
            return ended
        wanted = ended is None and trials.proposed < options.evaluations
        if wanted and trials.settled >= trials.proposed - ahead:
            known = trials.known(max(trials.proposed - ahead, 0))
            rng = np.random.default_rng([options.seed, 2, trials.batches])
            genes = propose(terrain, known, None, rng)
            if len(genes):
                trials.propose(genes, options.searcher, known=len(known.genes))
                continue
            if trials.settled == trials.proposed:
                return "space"
            ahead = 0  # it may have more to say once it knows what is pending
        elif not dispatch.busy:
            return "budget"
        if dispatch.busy:
            for number, job, outcome in dispatch.finished():
                trials.take(number, job, outcome)
            live.learn()


def _hand_out(trials: Trials, dispatch: Dispatch) -> None:
    while dispatch.free and (job := trials.next_job(dispatch.workers.rows)) is not None:
        dispatch.submit(*job)


@contextmanager
def _staffed(options: SearchOptions, make: Make) -> Iterator[Dispatch]:
    """Workers, for as long as they are needed."""
    staff = workers[options.pool_name](Wanted(make, options.workers, options.batch))
    try:
        yield Dispatch(staff, options.trial_seconds)
    finally:
        staff.close()
