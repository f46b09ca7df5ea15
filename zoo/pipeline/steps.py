"""The steps of a run, each usable alone and each going on where it stopped: train, profile, search.

A step prints nothing. Who wants to see how far it is hands it a `Progress`; the command line does, and plain
Python may call the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hardware.device import Device, local_device
from hardware.measurement import Profile
from hardware.profiler import profile
from predictors import Estimate, Predictor, predictors
from predictors.options import FEWEST, FOLDS
from predictors.references import most_telling, read_references
from predictors.validate import Validation, compare, held_out
from search.archive import Archive, Evaluation
from search.engine import SearchResult, random_search, search
from search.imports import import_lines
from search.objective import Objective, one_by_one
from search.options import SearchOptions
from supernet.build import build, data_for
from supernet.elastic.costs import Costs
from supernet.elastic.inputs import Inputs
from supernet.elastic.storage import WEIGHTS
from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError, SpaceError, StateError, did_you_mean
from supernet.evaluate import Evaluator
from supernet.ranks import launched
from supernet.recipe import device_of
from supernet.sources import load_data
from supernet.space import Architecture
from supernet.tasks.task import Dataset, Metric, Task
from supernet.trainer import Trainer
from supernet.wording import counted
from zoo.pipeline.offered import offered
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.run import Run
from zoo.store.manifest import hash_file

ARCHIVE, RANDOM = "archive.sqlite", "random.sqlite"
EARLIER = "archive.jsonl"
"""What versions before the archive was a database called it."""
LATENCY, PARAMS, MACS = "latency", "params", "macs"


@dataclass(frozen=True)
class Workspace:
    """What every step after the training works with.

    Args:
        run: whose.
        net: the trained supernet, in evaluation mode.
    """

    run: Run
    net: Supernet
    _known: list[Dataset] = field(default_factory=list, repr=False, compare=False)

    @property
    def dataset(self) -> Dataset:
        """The examples, with their task."""
        return self.read()

    def read(self, progress: Progress = silent) -> Dataset:
        """The examples, with their task; the first call reads them and says how far that is."""
        if not self._known:
            self._known.append(examples(self.run, progress))
        return self._known[0]

    @property
    def quality(self) -> Metric:
        """What networks are ranked by: the metric of the options, or the task's own.

        Raises:
            ConfigError: when the task has no metric of that name.
        """
        return ranking(self.dataset.task, self.run.options.search)

    @property
    def told(self) -> Metric:
        """What people are told of a network."""
        return self.dataset.task.measures[0]

    def example(self, arch: Architecture) -> Inputs:
        """Two examples as an architecture takes them."""
        return self.dataset.task.example_inputs(self.net.input_values(arch))

    def preprocess(self, arch: Architecture) -> dict[str, Any]:
        """How raw data become the inputs of an architecture, as its manifest and its file say it."""
        return self.dataset.preprocessing(self.net.input_values(arch))

    @cached_property
    def costs(self) -> Costs:
        """Exact costs of any architecture, each for its own inputs."""
        return self.net.costs()

    @cached_property
    def evaluator(self) -> Evaluator:
        """Judges on the search split."""
        options = self.run.options
        return Evaluator(
            self.net,
            self.dataset,
            examples=options.search.examples,
            calibration_examples=options.train.calibration_examples,
        )


def ranking(task: Task, options: SearchOptions) -> Metric:
    """What networks are ranked by: the metric of the options, or the task's own.

    Raises:
        ConfigError: when the task has no metric of that name.
    """
    known = {metric.name: metric for metric in task.measures}
    if options.metric is None:
        return task.ranked_by
    if options.metric not in known:
        raise ConfigError(
            f"search.metric is {options.metric!r}, no metric of {task.name}{did_you_mean(options.metric, known)}"
        )
    return known[options.metric]


def examples(run: Run, progress: Progress = silent) -> Dataset:
    """The run's examples, shown as its model wants them."""
    return load_data(data_for(run.options.data, run.options.supernet), progress)


def read(run: Run, progress: Progress = silent) -> Dataset:
    """The run's examples; options that a later step would refuse are refused before work rests on them.

    Raises:
        ConfigError: for a device that this machine does not have, or a metric that the task does not have.
        DataError: when the data are missing or damaged.
    """
    device_of(run.options.train)
    dataset = examples(run, progress)
    ranking(dataset.task, run.options.search)
    return dataset


def train(run: Run, progress: Progress = silent, dataset: Dataset | None = None) -> Trainer:
    """Train the run's supernet, or load it when that is done; with the other processes that torchrun started.

    Args:
        dataset: that of the run, where it was read already.

    Returns:
        The trainer, with the supernet in evaluation mode and the history.

    Raises:
        ConfigError: see `read`.
        DataError: when the data are missing or damaged.
        StateError: when the folder holds the checkpoint of another training, or another process ended.
    """
    torch.set_num_threads(run.options.train.threads)
    dataset = dataset or read(run, progress)
    net = build(offered(run, dataset, progress), dataset.task, seed=run.options.train.seed)
    with launched(run.options.train.device):
        trainer = Trainer(net, dataset, run.options.train, run.training)
        if trainer.ranks.leads:
            run.keep()
        trainer.run(partial(progress, "training"))
        progress("training", trainer.steps, trainer.steps)
        if trainer.ranks.leads:
            net.save(run.supernet)
    return trainer


def opened(run: Run, dataset: Dataset | None = None) -> Workspace:
    """The run's trained supernet, to work with.

    Args:
        dataset: that of the run, where it was read already.

    Raises:
        StateError: when there is none yet.
    """
    if not (run.supernet / WEIGHTS).exists():
        raise StateError(f"{run.folder} holds no trained supernet; run this first: {run.command('train')}")
    torch.set_num_threads(run.options.train.threads)
    return Workspace(run, Supernet.load(run.supernet), [dataset] if dataset else [])


@dataclass(frozen=True)
class Profiled:
    """What was measured, and what was learnt from it.

    Args:
        profile: the measurements.
        predictor: fitted on all of them.
        held_out: each latency as predicted without its own measurement.
        validation: how far those are off.
    """

    profile: Profile
    predictor: Predictor
    held_out: Estimate
    validation: Validation


def profile_device(workspace: Workspace, progress: Progress = silent) -> Profiled:
    """Measure subnets on this machine, or read what was measured, and fit the predictor.

    Raises:
        SpaceError: when the space holds too few subnets to learn from.
        StateError: when the folder holds another profile.
    """
    options, task = workspace.run.options, workspace.read(progress).task
    archs = most_telling(
        workspace.net.space,
        options.profile.subnets,
        references(workspace, local_device(options.device)),
        options.profile.seed,
        workspace.costs.macs,
    )
    if len(archs) < FEWEST:
        raise SpaceError(
            f"the space holds {counted(workspace.net.space.size, 'network')}, and a predictor needs {FEWEST} "
            f"to learn from; make more of the supernet elastic, see supernet.options"
        )
    measured = profile(
        workspace.net,
        archs,
        workspace.example,
        workspace.run.profile,
        free_axes=task.free_axes,
        options=options.profile,
        device=options.device,
        progress=progress,
    )
    workspace.run.keep()
    return learn(workspace, measured)


def references(workspace: Workspace, device: Device) -> dict[str, Predictor]:
    """Predictors of the other devices whose profiles the options name; none where they name none.

    Raises:
        StateError: when the folder they are in is missing.
    """
    folder = workspace.run.options.predict.references
    if folder is None:
        return {}
    macs, params = workspace.costs.macs, workspace.costs.params
    return read_references(
        Path(folder), workspace.net.space, macs=macs, params=params, other_than=device.id
    )  # fmt: skip


def learn(workspace: Workspace, measured: Profile) -> Profiled:
    """Fit the run's predictor on a profile, and hold it against subnets it has not seen."""
    options, others = workspace.run.options.predict, references(workspace, measured.device)
    more = {"references": others} if others else {}

    def fresh() -> Predictor:
        """One that has learned nothing yet."""
        return predictors[options.predictor](
            workspace.net.space, macs=workspace.costs.macs, params=workspace.costs.params, **more
        )

    predictor = fresh()
    predictor.fit(measured.genes, measured.median_ms, measured.noise_ms)
    unseen = held_out(fresh, measured.genes, measured.median_ms, measured.noise_ms)
    figures = compare(unseen, measured.median_ms, folds=FOLDS)
    return Profiled(measured, predictor, unseen, figures)


def profiled(workspace: Workspace) -> Profiled:
    """What an earlier profiling step left.

    Raises:
        StateError: when there is nothing yet.
    """
    path = workspace.run.profile / "profile.json"
    if not path.exists():
        raise StateError(
            f"{workspace.run.folder} holds no profile; run this first: {workspace.run.command('profile')}"
        )
    return learn(workspace, Profile.load(path))


@dataclass(frozen=True)
class Searched:
    """A search and the random one beside it.

    Args:
        result: by the searcher that the options name.
        baseline: networks drawn at random, where some were asked for.
    """

    result: SearchResult
    baseline: SearchResult | None = None


def objectives(workspace: Workspace, known: Profiled) -> tuple[Objective, ...]:
    """Predicted latency, exact parameters and quality on the search split, with the limits of the options.

    A limit on the latency is held by the upper end of what is predicted. What people are told of a network is
    recorded beside what it is ranked by; both come from one evaluation.
    """
    limits, space = workspace.run.options.search, workspace.net.space
    judged, depends = cache(workspace.evaluator), judged_by(workspace)
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
        Objective(
            LATENCY,
            "ms",
            "min",
            lambda genes: known.predictor.predict(genes).mean,
            limit=limits.max_latency_ms,
            source="predicted",
            bound=lambda genes: known.predictor.predict(genes).high,
        ),
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


def search_front(workspace: Workspace, known: Profiled, progress: Progress = silent) -> Searched:
    """Search the Pareto front, and draw networks at random beside it where the options ask for some.

    Raises:
        InfeasibleError: when no network meets the limits; it names the nearest that does.
        StateError: when the folder holds another search.
    """
    workspace.read(progress)
    goals, options, folder = objectives(workspace, known), workspace.run.options.search, workspace.run.search
    _take_over(workspace, goals)
    result = search(
        workspace.net.space, goals, options, folder / ARCHIVE, progress=partial(progress, "searching")
    )
    baseline = None
    if options.baseline:
        drawn = replace(options, evaluations=options.baseline)
        tell = partial(progress, "random baseline")
        baseline = random_search(workspace.net.space, goals, drawn, folder / RANDOM, progress=tell)
    workspace.run.keep()  # only now: a limit that nothing meets is not to haunt the next step
    return Searched(result, baseline)


def _take_over(workspace: Workspace, goals: Sequence[Objective]) -> None:
    """Bring what an earlier version evaluated into the archive, where it is of these weights and examples."""
    old, new = workspace.run.search / EARLIER, workspace.run.search / ARCHIVE
    if new.exists() or not old.exists():
        return
    paid = {goal.name: goal for goal in goals if not goal.cheap}
    with Archive(new, workspace.net.space, write=True) as archive:
        import_lines(archive, old, paid, subject=_earlier_subject(workspace))


def _earlier_subject(workspace: Workspace) -> dict[str, str]:
    """What the values of an archive of an earlier version depended on, all of them together."""
    return {
        "weights": hash_file(workspace.run.supernet / WEIGHTS),
        "profile": hash_file(workspace.run.profile / "profile.json"),
        "examples": str(min(workspace.run.options.search.examples, workspace.dataset.count("search"))),
    }


def evaluations(workspace: Workspace, known: Profiled) -> list[Evaluation]:
    """Every network the searches of this run have evaluated.

    Raises:
        StateError: when there was no search yet.
    """
    path = workspace.run.search / ARCHIVE
    if not path.exists():
        raise StateError(
            f"{workspace.run.folder} holds no search; run this first: {workspace.run.command('search')}"
        )
    with Archive(path, workspace.net.space) as archive:
        return archive.evaluations(objectives(workspace, known))


def judged_by(workspace: Workspace) -> dict[str, str]:
    """What the quality of a network depends on besides its architecture; not on any device."""
    options = workspace.run.options
    return {
        "weights": hash_file(workspace.run.supernet / WEIGHTS),
        "data": workspace.dataset.name,
        "examples": str(min(options.search.examples, workspace.dataset.count("search"))),
        "calibration": str(options.train.calibration_examples),
    }
