"""The steps of a run, each usable alone and each going on where it stopped: train, profile, search, pick.

A step prints nothing. Who wants to see how far it is hands it a `Progress`; the command line does, and plain
Python may call the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from hardware.measurement import Profile
from hardware.profiler import profile
from hardware.sampling import spread
from predictors import Predictor, predictors
from predictors.validate import Validation, validate
from search.archive import Archive, Evaluation
from search.engine import SearchResult, random_search, search
from search.front import choose, front
from search.objective import Objective
from supernet.build import build
from supernet.data import Dataset, load
from supernet.elastic.costs import Costs
from supernet.elastic.storage import WEIGHTS
from supernet.elastic.supernet import Supernet
from supernet.errors import ArchitectureError, StateError
from supernet.evaluate import Evaluator
from supernet.space import Architecture
from supernet.trainer import Epoch, Trainer
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.run import Run
from zoo.store.manifest import hash_file

ARCHIVE = "archive.jsonl"
ACCURACY, LATENCY, PARAMS = "accuracy", "latency", "params"


@dataclass(frozen=True)
class Bench:
    """What every step after the training works with.

    Args:
        run: whose.
        net: the trained supernet, in evaluation mode.
    """

    run: Run
    net: Supernet

    @cached_property
    def dataset(self) -> Dataset:
        """The images."""
        return load(self.run.options.data)

    @cached_property
    def example(self) -> Tensor:
        """Two images as the networks take them ``(2, channels, resolution, resolution)``."""
        return torch.zeros(2, self.dataset.channels, self.dataset.resolution, self.dataset.resolution)

    @cached_property
    def costs(self) -> Costs:
        """Exact costs of any architecture."""
        return self.net.costs((1, *self.example.shape[1:]))

    @cached_property
    def evaluator(self) -> Evaluator:
        """Accuracy on the search split."""
        options = self.run.options
        return Evaluator(
            self.net,
            self.dataset,
            images=options.search.images,
            calibration_images=options.train.calibration_images,
        )


def train(run: Run, progress: Progress = silent) -> tuple[Supernet, list[Epoch]]:
    """Train the run's supernet, or load it when that is done.

    Returns:
        The supernet in evaluation mode, and one entry per epoch.

    Raises:
        DataError: when the data are missing or damaged.
        StateError: when the folder holds the checkpoint of another training.
    """
    torch.set_num_threads(run.options.train.threads)
    dataset = load(run.options.data)
    net = build(
        run.options.supernet,
        classes=len(dataset.classes),
        channels=dataset.channels,
        resolution=dataset.resolution,
        seed=run.options.train.seed,
    )
    trainer = Trainer(net, dataset, run.options.train, run.training)
    run.keep()
    history = trainer.run(partial(progress, "training"))
    progress("training", trainer.steps, trainer.steps)
    net.save(run.supernet)
    return net, history


def opened(run: Run) -> Bench:
    """The run's trained supernet, to work with.

    Raises:
        StateError: when there is none yet.
    """
    if not (run.supernet / WEIGHTS).exists():
        raise StateError(
            f"{run.folder} holds no trained supernet; run this first: supernet train --run {run.folder}"
        )
    torch.set_num_threads(run.options.train.threads)
    return Bench(run, Supernet.load(run.supernet))


@dataclass(frozen=True)
class Profiled:
    """What was measured, and what was learnt from it.

    Args:
        profile: the measurements.
        predictor: fitted on all of them.
        validation: how far the predictor is off on subnets it has not seen.
    """

    profile: Profile
    predictor: Predictor
    validation: Validation


def profile_device(bench: Bench, progress: Progress = silent) -> Profiled:
    """Measure subnets on this machine, or read what was measured, and fit the predictor.

    Raises:
        StateError: when the folder holds another profile.
    """
    options = bench.run.options
    archs = spread(bench.net.space, options.profile.subnets, options.profile.seed, bench.costs.macs)
    measured = profile(
        bench.net,
        archs,
        bench.example,
        bench.run.profile,
        options=options.profile,
        device=options.device,
        progress=progress,
    )
    bench.run.keep()
    return learn(bench, measured)


def learn(bench: Bench, measured: Profile) -> Profiled:
    """Fit the run's predictor on a profile, and hold it against subnets it has not seen."""
    options = bench.run.options.predict

    def fresh() -> Predictor:
        """One that has learned nothing yet."""
        return predictors[options.predictor](
            bench.net.space, macs=bench.costs.macs, params=bench.costs.params
        )

    predictor = fresh()
    predictor.fit(measured.genes, measured.median_ms)
    return Profiled(measured, predictor, validate(fresh, measured.genes, measured.median_ms))


def profiled(bench: Bench) -> Profiled:
    """What an earlier profiling step left.

    Raises:
        StateError: when there is nothing yet.
    """
    path = bench.run.profile / "profile.json"
    if not path.exists():
        raise StateError(
            f"{bench.run.folder} holds no profile; run this first: supernet profile --run {bench.run.folder}"
        )
    return learn(bench, Profile.load(path))


@dataclass(frozen=True)
class Searched:
    """A search and the random one beside it.

    Args:
        result: by the searcher that the options name.
        baseline: as many networks drawn at random.
    """

    result: SearchResult
    baseline: SearchResult


def objectives(bench: Bench, known: Profiled) -> tuple[Objective, ...]:
    """Accuracy on the search split, predicted latency, exact parameters, with the limits of the options."""
    limits, space = bench.run.options.search, bench.net.space
    return (
        Objective(
            ACCURACY,
            "%",
            "max",
            lambda archs: np.array([100 * bench.evaluator(arch).share for arch in archs]),
        ),
        Objective(
            LATENCY,
            "ms",
            "min",
            lambda archs: known.predictor.predict(space.matrix(archs)).mean,
            limit=limits.max_latency_ms,
            cheap=True,
        ),
        Objective(
            PARAMS,
            "",
            "min",
            lambda archs: bench.costs.params(space.matrix(archs)).astype(np.float64),
            limit=limits.max_params,
            cheap=True,
        ),
    )


def search_front(bench: Bench, known: Profiled, progress: Progress = silent) -> Searched:
    """Search the Pareto front, and draw as many networks at random beside it.

    Raises:
        InfeasibleError: when no network meets the limits; it names the nearest that does.
        StateError: when the folder holds another search.
    """
    goals, options, subject = objectives(bench, known), bench.run.options.search, _subject(bench)
    result = search(
        bench.net.space,
        goals,
        options,
        bench.run.search / ARCHIVE,
        subject=subject,
        progress=partial(progress, "searching"),
    )
    baseline = random_search(
        bench.net.space,
        goals,
        options,
        bench.run.search / "random.jsonl",
        subject=subject,
        progress=partial(progress, "random baseline"),
    )
    bench.run.keep()  # only now: a limit that nothing meets is not to haunt the next step
    return Searched(result, baseline)


def evaluations(bench: Bench, known: Profiled) -> list[Evaluation]:
    """Every network the searches of this run have evaluated.

    Raises:
        StateError: when there was no search yet.
    """
    path = bench.run.search / ARCHIVE
    if not path.exists():
        raise StateError(
            f"{bench.run.folder} holds no search; run this first: supernet search --run {bench.run.folder}"
        )
    with Archive(path, bench.net.space, objectives(bench, known), _subject(bench)) as archive:
        return list(archive)


def pick(bench: Bench, known: Profiled, ids: Sequence[str] = ()) -> dict[str, Architecture]:
    """The evaluated networks of these ids, or the fastest, the knee and the most accurate of the front.

    Raises:
        ArchitectureError: for an id no search of this run has evaluated.
        InfeasibleError: when no evaluated network is within the limits.
        StateError: when there was no search yet.
    """
    evaluated, goals = evaluations(bench, known), objectives(bench, known)
    if not ids:
        picked = choose(front(evaluated, goals), goals, cost=LATENCY, gain=ACCURACY)
        return {name: evaluation.arch for name, evaluation in picked.items()}
    named = {evaluation.arch.id: evaluation.arch for evaluation in evaluated}
    for wanted in ids:
        if wanted not in named:
            best = [evaluation.arch.id for evaluation in front(evaluated, goals)]
            raise ArchitectureError(
                f"no network {wanted!r} was evaluated in this run; on the front are {', '.join(best)}"
            )
    return {wanted: named[wanted] for wanted in ids}


def _subject(bench: Bench) -> dict[str, str]:
    """What the values of an archive depend on besides the architecture."""
    return {
        "weights": hash_file(bench.run.supernet / WEIGHTS),
        "profile": hash_file(bench.run.profile / "profile.json"),
        "images": str(min(bench.run.options.search.images, len(bench.dataset.search))),
    }
