"""Search the Pareto front of a run, for one device or for several at once; what was evaluated answers for any other.

How good a network is does not depend on a device: the devices of a search share every evaluation, and each sees a
front of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from search.archive import Archive, Evaluations
from search.engine import SearchResult, met_front, search
from search.front import front
from search.imports import import_lines
from search.objective import InfeasibleError, Objective, one_by_one
from search.options import HERE, SearchOptions
from search.trials import Progress as Told
from search.workers import Make, Scores, scores_of
from supernet.elastic.storage import WEIGHTS
from supernet.errors import StateError
from supernet.tasks.task import Metric
from zoo.pipeline.faster import faster_than_float
from zoo.pipeline.mixed import MixedWorkspace, mixed
from zoo.pipeline.profiling import Profiled
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.run import PROFILE, Run, devices_typed
from zoo.pipeline.workspace import Workspace, opened
from zoo.store.manifest import hash_file

ARCHIVE = "archive.sqlite"
EARLIER = "archive.jsonl"
"""What versions before the archive was a database called it."""
PARAMS, MACS, FILE = "params", "macs", "file"


@dataclass(frozen=True)
class Searched:
    """A search and others beside it.

    Args:
        result: by the searcher that the options name.
        baselines: by other searchers, where some were asked for.
    """

    result: SearchResult
    baselines: Mapping[str, SearchResult] = field(default_factory=dict)

    def on(self, known: Profiled) -> Searched:
        """The same as one of its devices sees it: objectives and fronts without what concerns the others alone."""
        return Searched(
            _seen(self.result, known), {name: _seen(one, known) for name, one in self.baselines.items()}
        )


def _seen(result: SearchResult, known: Profiled) -> SearchResult:
    goals = tuple(goal for goal in result.objectives if goal.front in ("", known.name))
    return replace(result, front=tuple(front(result.evaluations, goals)), objectives=goals)


def objectives(
    workspace: Workspace, known: Sequence[Profiled], *, candidates: bool = False
) -> tuple[Objective, ...]:
    """Predicted latencies, exact parameters and quality on the search split, with the limits of the options.

    A limit on a latency is held by the upper end of what is predicted. What people are told of a network is
    recorded beside what it is ranked by; both come from one evaluation. Where stages have a precision, networks in
    eight bits that were not measured to be faster than in float are beyond a limit.

    Args:
        candidates: only those that were measured not to be faster.
    """
    limits, space = workspace.run.options.search, workspace.net.space
    judged, depends = workspace.judged, judged_by(workspace)
    ranked, told = workspace.quality, workspace.told

    def measured(metric: Metric, optimise: bool) -> Objective:
        """A metric of the task, as an objective."""
        return Objective(
            metric.name,
            metric.unit,
            metric.sense,
            one_by_one(space, lambda arch: judged(arch)[metric.name]),
            depends=depends,
            optimise=optimise,
        )

    return (
        *(_latency(device, limits) for device in known),
        *(_of_precision(workspace, known, candidates) if isinstance(workspace, MixedWorkspace) else ()),
        Objective(
            PARAMS,
            "",
            "min",
            lambda genes: workspace.costs.params(genes).astype(np.float64),
            limit=limits.max_params,
            source="exact",
        ),
        Objective(
            MACS,
            "",
            "min",
            lambda genes: workspace.costs.macs(genes).astype(np.float64),
            source="exact",
            optimise=False,
        ),
        measured(ranked, optimise=True),
        *([] if told == ranked else [measured(told, optimise=False)]),
    )


def _of_precision(
    workspace: MixedWorkspace, known: Sequence[Profiled], candidates: bool
) -> Iterator[Objective]:
    """Where every stage has a precision: how large the file is, and whether eight bits are faster."""
    yield Objective(
        FILE, "KiB", "min", lambda genes: workspace.sizes(genes) / 1024, source="predicted", optimise=False
    )
    yield from faster_than_float(workspace, known, candidates)


def _latency(known: Profiled, limits: SearchOptions) -> Objective:
    """What is predicted for a device, which has a front of its own where it has a name."""
    return Objective(
        known.latency,
        "ms",
        "min",
        lambda genes: known.estimate(genes).mean,
        limit=limits.max_latency_on(known.name),
        source="predicted",
        bound=lambda genes: known.estimate(genes).high,
        front=known.name,
    )


def search_front(
    workspace: Workspace,
    known: Sequence[Profiled],
    progress: Progress = silent,
    *,
    seconds: float | None = None,
) -> Searched:
    """Search the Pareto front, and let other searchers search beside it where the options ask for some.

    Args:
        known: the devices to search for, all at once; `Searched.on` is what one of them sees.
        seconds: that this call may take, beside what the options say; the baselines not counted.

    Raises:
        InfeasibleError: when no network meets the limits; it names the nearest that does.
        StateError: when the folder holds another search.
    """
    workspace.read(progress)
    goals, options = objectives(workspace, known, candidates=True), workspace.run.options.search
    _take_over(workspace, goals)
    if isinstance(workspace, MixedWorkspace):
        _bring_float(workspace, goals)
    timed = options if seconds is None else replace(options, seconds=seconds)
    result = search_for(workspace, goals, timed, partial(progress, "searching"))
    baselines = _baselines(workspace, goals, progress) if options.baseline else {}
    workspace.run.keep()  # only now: a limit that nothing meets is not to haunt the next step
    return Searched(result, baselines)


def _baselines(
    workspace: Workspace, goals: Sequence[Objective], progress: Progress
) -> dict[str, SearchResult]:
    """What other searchers find with evaluations of their own, each in an archive of its own."""
    options, found = workspace.run.options.search, dict[str, SearchResult]()
    for name in options.baseline_searchers:
        path = archive_of(workspace, f"{name}.sqlite")
        theirs = replace(options, searcher=name, evaluations=options.baseline, seconds=None, plateau=0.0)
        tell, make = partial(progress, f"baseline {name}"), _make(workspace)
        found[name] = search(workspace.net.space, goals, theirs, path, make=make, progress=tell)
    return found


def search_for(
    workspace: Workspace, goals: Sequence[Objective], options: SearchOptions, tell: Told
) -> SearchResult:
    """A search in the archive of the run, by this process or by workers.

    Raises:
        InfeasibleError: see `search.engine.search`; StateError likewise.
    """
    path, make, curves = archive_of(workspace), _make(workspace), workspace.run.search
    return search(workspace.net.space, goals, options, path, make=make, progress=tell, curves=curves)


def _make(workspace: Workspace) -> Make | None:
    here = workspace.run.options.search.pool_name == HERE
    return None if here else partial(scores, workspace.run, isinstance(workspace, MixedWorkspace))


def scores(run: Run, with_precision: bool = False) -> Scores:
    """What is expensive about the networks of a run, for a worker that has nothing but the run.

    Args:
        with_precision: whether every stage has one.
    """
    workspace = opened(run)
    return scores_of(objectives(mixed(workspace) if with_precision else workspace, []))


def archive_of(workspace: Workspace, name: str = ARCHIVE) -> Path:
    """Where the networks are that a search evaluated; those with a precision for each stage have one of their own."""
    return workspace.run.search / f"{workspace.prefix}{name}"


def known_front(workspace: Workspace, known: Sequence[Profiled], *, candidates: bool = False) -> Searched:
    """What a search for some devices would find if it evaluated nothing: the front of what is known.

    Args:
        candidates: see `objectives`.

    Raises:
        InfeasibleError: when no network that was evaluated is within the limits.
        StateError: when there was no search yet.
    """
    goals = objectives(workspace, known, candidates=candidates)
    seen = evaluations(workspace, known, candidates=candidates)
    if not seen:
        raise InfeasibleError(
            f"{workspace.run.search} knows no network of the weights that the run has now; search first: "
            f"{workspace.run.command('search', *devices_typed([one.name for one in known]))}"
        )
    return Searched(SearchResult(seen, met_front(seen, goals), goals, scored=0))


def _take_over(workspace: Workspace, goals: Sequence[Objective]) -> None:
    """Bring what an earlier version evaluated into the archive, where it is of these weights and examples."""
    old, new = workspace.run.search / EARLIER, archive_of(workspace)
    if new.exists() or not (old.exists() and (workspace.run.profile / PROFILE).exists()):
        return
    paid = {goal.name: goal for goal in goals if not goal.cheap}
    with Archive(new, workspace.net.space, write=True) as archive:
        import_lines(archive, old, paid, subject=_earlier_subject(workspace))


def _bring_float(workspace: MixedWorkspace, goals: Sequence[Objective]) -> None:
    """Bring what searches without a precision have evaluated: in float it is the same."""
    plain, precision = workspace.run.search / ARCHIVE, workspace.precision
    if not plain.exists():
        return
    depends = {key: value for key, value in judged_by(workspace).items() if key not in workspace.judged_with}
    with (
        Archive(plain, precision.plain_space) as old,
        Archive(archive_of(workspace), precision.space, write=True) as archive,
    ):
        for goal in (goal for goal in goals if not goal.cheap):
            known = {k: v for k, v in old.values(replace(goal, depends=depends)).items() if np.isfinite(v)}
            genes = precision.from_plain(old.genes(b"".join(known)))
            values = np.array(list(known.values()), dtype=np.float64)
            missing = np.isnan(archive.look_up(goal, genes))
            archive.record(goal, genes[missing], values[missing])


def _earlier_subject(workspace: Workspace) -> dict[str, str]:
    """What the values of an archive of an earlier version depended on, all of them together."""
    return {
        "weights": hash_file(workspace.run.supernet / WEIGHTS),
        "profile": hash_file(workspace.run.profile / PROFILE),
        "examples": str(min(workspace.run.options.search.examples, workspace.dataset.count("search"))),
    }


def evaluations(workspace: Workspace, known: Sequence[Profiled], *, candidates: bool = False) -> Evaluations:
    """Every network the searches of this run have evaluated, for whichever device, with its latency on some.

    Args:
        candidates: see `objectives`.

    Raises:
        StateError: when there was no search yet.
    """
    path = archive_of(workspace)
    if not path.exists():
        devices = devices_typed([device.name for device in known])
        raise StateError(
            f"{workspace.run.folder} holds no search; run this first: {workspace.run.command('search', *devices)}"
        )
    with Archive(path, workspace.net.space) as archive:
        return archive.evaluations(objectives(workspace, known, candidates=candidates))


def judged_by(workspace: Workspace) -> dict[str, str]:
    """What the quality of a network depends on besides its architecture; not on any device."""
    options = workspace.run.options
    return {
        "weights": hash_file(workspace.run.supernet / WEIGHTS),
        "data": workspace.dataset.name,
        "examples": str(min(options.search.examples, workspace.dataset.count("search"))),
        "calibration": str(options.train.calibration_examples),
        **workspace.judged_with,
    }
