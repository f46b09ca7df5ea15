"""The trainings of a comparison: each one once, kept in a folder, and going on where it was killed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, cast

import torch

from benchmarks.contract import commit
from benchmarks.few_images import few_images
from supernet.build import build
from supernet.config import decode, override, to_plain
from supernet.elastic.supernet import Supernet
from supernet.evaluate import Evaluator
from supernet.files import write_atomically
from supernet.options import DataOptions, SupernetOptions, TrainOptions
from supernet.sources import load_data
from supernet.strategies import Context, Lesson, Observer, Strategy, strategies
from supernet.tasks.task import Dataset
from supernet.trainer import Trainer

FREE = ("checkpoint_seconds", "device", "threads")
"""What changes nothing that is kept."""


@dataclass(frozen=True)
class Setup:
    """What all trainings of a comparison share.

    Args:
        images_per_class: of the train split, at most; None for all.
    """

    data: DataOptions = field(default_factory=DataOptions)
    supernet: SupernetOptions = field(default_factory=SupernetOptions)
    images_per_class: int | None = None


@dataclass(frozen=True)
class Training:
    """One training, and whom it is judged by.

    Args:
        options: its recipe; the strategy ``alone`` trains one network.
        judged: genes of the subnets whose accuracy is wanted.
    """

    options: TrainOptions
    judged: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Outcome:
    """What a training gave.

    Args:
        scores: first metric of each judged subnet on the test split, calibrated.
        batches: how many batches the lessons of a step saw together, on average: 4 for a sandwich of four.
        seconds: of CPU time in training; None when it was interrupted.
    """

    scores: tuple[float, ...]
    batches: float
    seconds: float | None


@dataclass(frozen=True)
class Counted:
    """A strategy, and a count of what its lessons see, which travels with the checkpoint."""

    strategy: Strategy

    def lessons(self, context: Context) -> list[Lesson]:
        """Those of the strategy."""
        return self.strategy.lessons(_own(context))

    def observe(self, context: Context, lessons: Sequence[Lesson], losses: Sequence[float]) -> None:
        """Count the batches of a step; a lesson may see a part of one."""
        seen = sum(1 / lesson.part[1] for lesson in lessons)
        context.state["batches"] = context.state.get("batches", 0.0) + seen
        if isinstance(self.strategy, Observer):
            self.strategy.observe(_own(context), lessons, losses)


def _own(context: Context) -> Context:
    return replace(context, state=context.state.setdefault("own", {}))


def variant(name: str, base: TrainOptions) -> TrainOptions:
    """The recipe of ``STRATEGY/option=value/...``: options of the strategy, or of the training.

    Raises:
        SupernetError: for an unknown strategy.
        ConfigError: for an unknown option, or a value of the wrong kind.
    """
    strategy, *changes = name.split("/")
    known = {option.name for option in fields(cast(Any, strategies[strategy]))}
    given = override({}, changes)
    own = {key: value for key, value in given.items() if key in known}
    rest = {key: value for key, value in given.items() if key not in known}
    return decode(to_plain(base) | rest | {"strategy": strategy, "strategy_options": own}, TrainOptions, name)


@dataclass(frozen=True)
class Bench:
    """Data and fresh supernets, made once in a process."""

    setup: Setup

    @cached_property
    def data(self) -> Dataset:
        """With as few training images as the setup says."""
        found = load_data(self.setup.data)
        return few_images(found, self.setup.images_per_class, self.setup.data.split_seed)

    @cached_property
    def _built(self) -> dict[int, Supernet]:
        return {}

    def supernet(self, seed: int) -> Supernet:
        """A supernet with fresh weights."""
        if seed not in self._built:
            self._built[seed] = build(self.setup.supernet, self.data.task, seed=seed)
        return deepcopy(self._built[seed])

    def key(self, training: Training) -> str:
        """A name for all that decides the outcome of a training."""
        recipe = {name: value for name, value in to_plain(training.options).items() if name not in FREE}
        document = [to_plain(self.setup), self.data.identity(), recipe, training.judged]
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:20]

    def outcome(self, training: Training, folder: Path) -> Outcome:
        """Train and judge, or read what an earlier run has kept.

        Raises:
            StateError: when the folder cannot be written to, or another process is at the same training.
        """
        key = self.key(training)
        path, running = folder / f"{key}.json", folder / "running" / key
        if path.exists():
            found = json.loads(path.read_text())["outcome"]
            return Outcome(tuple(found["scores"]), found["batches"], found["seconds"])
        outcome = self._train(training, running)
        document = {"training": asdict(training), "commit": commit(), "outcome": asdict(outcome)}
        write_atomically(path, json.dumps(document, indent=1) + "\n")
        shutil.rmtree(running)
        return outcome

    def _train(self, training: Training, running: Path) -> Outcome:
        options, net = training.options, self.supernet(training.options.seed)
        strategy = decode(options.strategy_options, strategies[options.strategy], "strategy_options")
        # what is looked at on the way is not used: one example, at the end
        recipe = replace(options, evaluate_every=options.epochs, evaluate_examples=1)
        trainer = Trainer(net, self.data, recipe, running, strategy=Counted(strategy))
        begun, start = trainer.step, time.process_time()
        trainer.run()
        seconds = time.process_time() - start
        judge = Evaluator(net, self.data, "test", calibration_examples=options.calibration_examples)
        scores = tuple(judge(net.space.architecture(genes)).value for genes in training.judged)
        batches = trainer.state["batches"] / trainer.steps
        return Outcome(scores, batches, None if begun else seconds)


def outcomes(bench: Bench, trainings: Sequence[Training], folder: Path, jobs: int = 1) -> list[Outcome]:
    """The outcome of each training, in as many processes as asked; says on stderr how far it is.

    Raises:
        SupernetError: whatever a training raises; what was done is kept.
    """
    keys = [bench.key(training) for training in trainings]
    wanted, found = dict(zip(keys, trainings)), dict[str, Outcome]()
    start = time.monotonic()
    for key, outcome in _done(bench, wanted, folder, jobs):
        found[key], options = outcome, wanted[key].options
        print(
            f"{len(found)} of {len(wanted)}: {options.strategy}, seed {options.seed}, {options.epochs} epochs: "
            f"{', '.join(f'{score:.1f}' for score in outcome.scores)} ({time.monotonic() - start:.0f} s)",
            file=sys.stderr,
            flush=True,
        )
    return [found[key] for key in keys]


def _done(
    bench: Bench, wanted: dict[str, Training], folder: Path, jobs: int
) -> Iterator[tuple[str, Outcome]]:
    if jobs == 1:
        for key, training in wanted.items():
            yield key, bench.outcome(training, folder)
        return
    spawn = get_context("spawn")  # a fork of a process that has used PyTorch's threads can hang
    with ProcessPoolExecutor(jobs, spawn, initializer=_begin) as pool:
        started = {pool.submit(_outcome, bench.setup, one, folder): key for key, one in wanted.items()}
        for each in as_completed(started):
            yield started[each], each.result()


def _begin() -> None:
    """One thread; and no training outlives a benchmark that was killed."""
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


_BENCHES: dict[str, Bench] = {}
"""Those of this process: reading the data and building a supernet take longer than a short training."""


def _outcome(setup: Setup, training: Training, folder: Path) -> Outcome:
    bench = _BENCHES.setdefault(json.dumps(to_plain(setup)), Bench(setup))
    return bench.outcome(training, folder)
