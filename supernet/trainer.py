"""Training the shared weights: data -> lessons -> loss -> step, and nothing else.

A strategy says which subnets learn in a step; their gradients add up, then one optimiser step moves
the weights they share. Everything random comes from a generator made for its step, so a run that was
killed goes on from its last checkpoint to the same weights, bit for bit.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

import torch

from supernet.ahead import Ahead
from supernet.budget import planned
from supernet.checkpoint import CHECKPOINT as CHECKPOINT, Checkpoints, State, below, write_checkpoint
from supernet.config import decode, to_plain
from supernet.elastic.costs import Costs
from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError, StateError
from supernet.evaluate import Evaluator, Result, layout_of
from supernet.guard import BlownUp, Guard, all_finite, hopeless
from supernet.lessons import Lessons
from supernet.lock import is_removed, locked
from supernet.memory.auto import Plan
from supernet.memory.sizes import bytes_of
from supernet.options import TrainOptions
from supernet.ordering import began_with, note_order, order_units, sort_anew
from supernet.partial_channels import check_partial
from supernet.ranks import joined
from supernet.recipe import device_of
from supernet.record import Epoch, Record
from supernet.same_training import FREE, check_same
from supernet.seeds import rng
from supernet.sight import Look, gradient_norm, is_due, memory_mib, watched
from supernet.space import Architecture
from supernet.stepping import Stepper
from supernet.strategies import Context, Lesson, Observer, Sorter, Strategy, strategies
from supernet.tasks.task import Batch, Dataset, moved
from supernet.teaching import (
    FILE,
    TEACHER,
    Teacher,
    alone,
    taught_by,
    teacher_from,
    teacher_of,
)

log = logging.getLogger(__name__)

LOCK = ".lock"
_MODEL = "model/"

Progress = Callable[[int, int, str], None]
"""Called with the steps done, the steps in all and a few words on how it goes."""


class Trainer:
    """One training run, which goes on where an earlier one in the same folder stopped.

    Args:
        supernet: whose weights to train, in place.
        dataset: only its train split is learnt from; the search split is looked at after epochs. It
            brings the task, which says what is learnt.
        options: the recipe.
        folder: for the checkpoint and the TensorBoard log; None keeps nothing.
        strategy: deals out the lessons; None makes the one that the options name.

    Raises:
        SupernetError: for a strategy that is not registered.
        ConfigError: for an option that this strategy does not have, an unknown optimiser or schedule, a
            device that is not there, or a batch that processes and micro-batches cannot share evenly.
        StateError: when the folder holds the checkpoint of another run, or a damaged one.
    """

    def __init__(
        self,
        supernet: Supernet,
        dataset: Dataset,
        options: TrainOptions | None = None,
        folder: Path | None = None,
        *,
        strategy: Strategy | None = None,
    ) -> None:
        self.options = options = options or TrainOptions()
        self.ranks = joined()
        self.device = self.ranks.device(device_of(options))
        self.layout = layout_of(supernet, self.device)
        self.supernet = supernet.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]
        self.dataset, self.task = dataset, dataset.task
        self.folder = folder
        self.strategy = strategy or decode(
            options.strategy_options, strategies[options.strategy], "strategy_options"
        )
        self.epoch_steps = dataset.epoch_steps(options.batch_size)
        self.steps = options.epochs * self.epoch_steps
        batch = partial(dataset.batch, batch_size=options.batch_size, seed=options.seed)
        self.batches: Ahead[Batch] = Ahead(batch, self.steps, dataset.workers)
        self.stepper = Stepper(supernet, options, self.epoch_steps, self.ranks)
        pieces = self.ranks.pieces(options.batch_size, options.accumulate, dataset.count("train"))
        self.lessons = Lessons(supernet, self.task, options, self.stepper, pieces, self.layout)
        self.step = 0
        self.state: dict[str, Any] = {}
        self.reordered: dict[str, Any] | None = None
        self.memory: Plan | None = None
        """How the lessons run within ``train.memory``."""
        self.record = Record(folder if self.ranks.leads else None)
        self.guard = Guard()
        self.checkpoints = Checkpoints(folder)
        self.taught_by = taught_by(options, folder)
        if self.lessons.healed and options.teacher == "finetuned" and isinstance(self.strategy, Sorter):
            raise ConfigError(
                f"the strategy {options.strategy} sorts units, and those of a fine-tuned teacher stay where they are: "
                f"its stages can not be learnt from; set train.block_distil_weight=0, or train.teacher=largest"
            )
        check_partial(options, self.strategy)
        self._lock: IO[bytes] | None = None
        self._roles = {supernet.space.smallest(): "smallest", supernet.space.largest(): "largest"}
        self._resume()

    @property
    def history(self) -> list[Epoch]:
        """What was seen after each epoch."""
        return self.record.history

    def run(self, progress: Progress | None = None) -> list[Epoch]:
        """Train to the end.

        Args:
            progress: told after every step.

        Returns:
            One entry per epoch, those of an earlier run in the folder included.

        Raises:
            SupernetError: when a loss or a metric is no longer a number.
            StateError: when the folder can not be written to, is trained in by another process, or is removed
                meanwhile; and, naming it, when another rank ended.
        """
        try:
            return self._run_locked(progress)
        except BaseException:
            self.ranks.leave()
            raise

    def _run_locked(self, progress: Progress | None) -> list[Epoch]:
        if self.folder is None or self.step == self.steps or not self.ranks.leads:
            return self._run(progress)
        busy = f"{self.folder} is trained in by another process; wait for it, or choose another folder"
        with locked(self.folder / LOCK, busy=busy) as self._lock:
            try:
                return self._run(progress)
            except (OSError, StateError) as error:
                self._check_folder(error)
                raise

    def _run(self, progress: Progress | None) -> list[Epoch]:
        if self.reordered is None:
            self.reordered = order_units(self.supernet, self.dataset, self.options)
        if self.step < self.steps:
            self.ranks.agree({**self._belongs_to(), "step": self.step})
            self.ranks.spread(list(self.supernet.state_dict().values()))
            self.lessons.teacher = self._teacher(progress)
            self.record.open(self.step)
            self._fit()
        if self.step == 0 and self.options.rollbacks:
            self.checkpoints.hold(*self._state())
        saved = time.monotonic()
        while self.step < self.steps:
            try:
                self._learn()
                ends = self.step % self.epoch_steps == 0
                if ends:
                    self._finish_epoch()
                if ends or time.monotonic() - saved > self.options.checkpoint_seconds:
                    self._save(good=ends)
                    saved = time.monotonic()
            except BlownUp as error:
                self._go_back(error)
            if progress:
                progress(self.step, self.steps, self.words())
        self.batches.close()
        log.info("waited for data %.1f %% of the time", 100 * self.batches.waiting)
        self.record.close()
        self.ranks.spread(list(self.supernet.buffers()))
        self.stepper.settle()
        self.supernet.eval().to(memory_format=torch.contiguous_format)
        return self.history

    def _fit(self) -> None:
        """Choose modes that make do with the bytes there are; those of an earlier run, where these are the same."""
        options = self.options
        if not options.memory:
            return
        if self.memory is None or self.memory.budget != bytes_of(options.memory):
            batch = moved(self.batches.make(self.step), self.device)
            # what is measured differs from process to process: the first one measures for all
            found = self.ranks.told(
                lambda: planned(self.lessons, batch, options.memory, self.steps - 1).to_json()
            )
            self.memory = Plan(**found)
        self.lessons.execution = self.memory.execution or "plain"
        log.info("lessons run within %s: %s", options.memory, self.memory.execution)

    def _teacher(self, progress: Progress | None) -> Teacher | None:
        """Whoever was trained before, as ``train.teacher`` says, and is first trained where that is to be done."""
        options, folder = self.options, self.folder
        if options.teacher in ("largest", "none"):
            return None
        if options.teacher == "finetuned" and self.step == 0:
            return self._fine_tuned(progress)
        place = (
            folder / FILE if folder and options.teacher == "finetuned" else Path(options.teacher).expanduser()
        )
        return teacher_from(place, self.supernet, self.dataset, options, self.layout)

    def _fine_tuned(self, progress: Progress | None) -> Teacher:
        """The largest network, trained alone first, and kept in the folder."""
        folder = self.folder and self.folder / TEACHER
        training = Trainer(deepcopy(self.supernet), self.dataset, alone(self.options), folder)
        training.run(progress and (lambda done, steps, words: progress(done, steps, f"the teacher: {words}")))
        network = training.supernet.extract(self.supernet.space.largest())
        if self.folder:
            tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
            if self.ranks.leads:
                write_checkpoint(self.folder / FILE, tensors, {"run": training._belongs_to()})
            self.ranks.wait()
            self.taught_by = taught_by(self.options, self.folder)
        teacher = teacher_of(self.supernet, network, self.task, self.layout)
        self.record.spend("teacher", 3 * training.steps * (teacher.macs or 0))
        return teacher

    def _learn(self) -> None:
        """One optimiser step."""
        options, step = self.options, self.step
        batch = moved(self.batches(step), self.device)
        if not self.supernet.training:
            self.supernet.train()
        context = self._context(batch)
        if isinstance(self.strategy, Sorter) and (sort := self.strategy.sorts(context)):
            sort_anew(self.supernet, self.dataset, options, sort, self.stepper.beside())
        lessons = self.strategy.lessons(context)
        self.stepper.begin(step, self.guard.rate)
        losses = self.lessons.learn(lessons, batch, step, self.guard)
        self.stepper.step()
        self.step += 1
        self._note(lessons, losses)
        if isinstance(self.strategy, Observer):
            self.strategy.observe(context, lessons, losses)
        if self.step % self.epoch_steps == 0 and self.options.rollbacks:
            self._check_weights(context, lessons)

    def _check_weights(self, context: Context, lessons: Sequence[Lesson]) -> None:
        """The losses of a step say nothing of what it did to the weights, and these are to be gone back to."""
        if not all_finite(self.supernet.parameters()):
            raise BlownUp(f"a weight is no number after step {self.step}")
        for lesson in lessons:
            self.guard.look_once(self.step, self._role(lesson.arch), context.loss(lesson.arch))

    def _go_back(self, error: BlownUp) -> None:
        """Go on from the last good state with half the rate; the last time, leave it at that."""
        options, rollbacks, step = self.options, self.guard.rollbacks, self.step
        if not options.rollbacks:
            raise hopeless(error, options, step)
        self._restore(self.checkpoints.good())
        self.guard.rollbacks = rollbacks
        if len(rollbacks) >= options.rollbacks:
            self._save(good=True)
            raise hopeless(error, options, self.step) from error
        rollback = self.guard.go_back(step, self.step, str(error))
        log.warning("%s", rollback)
        self.record.go_back(self.step, str(rollback))
        self._save(good=True)

    def _context(self, batch: Batch) -> Context:
        """What the strategy sees of this step."""
        options, step, net = self.options, self.step, self.supernet
        _, done, steps = self.stepper.schedule.at(step)
        probe = self.lessons.probe(batch, step)
        return Context(
            net.space,
            done,
            steps,
            rng(options.seed, "lessons", step),
            epochs=steps // self.epoch_steps,
            kinds=net.plan.kinds,
            state=self.state,
            macs=lambda genes: self._costs.macs(genes),
            loss=probe.loss,
            saliency=probe.saliency,
        )

    @cached_property
    def _costs(self) -> Costs:
        """Exact costs of any architecture; looked into only when the strategy asks."""
        net = self.supernet
        found: Costs = net.costs(None if net.example is not None else self.task.example_inputs())
        return found

    def _note(self, lessons: Sequence[Lesson], losses: Sequence[float]) -> None:
        """Record the mean loss of every role."""
        by_role = defaultdict[str, list[float]](list)
        if (teacher := self.lessons.teacher) and teacher.macs:
            macs = self._costs.macs(self.supernet.space.matrix(lesson.arch for lesson in lessons))
            shares = [3 / lesson.part[1] for lesson in lessons]
            self.record.spend("lessons", round(float(macs @ shares)))
            if self.lessons.teaching(self.step - 1).ask:
                self.record.spend("teacher", teacher.macs)
        for lesson, loss in zip(lessons, losses):
            by_role[self._role(lesson.arch)].append(loss)
        means = {role: sum(values) / len(values) for role, values in by_role.items()}
        self.guard.look(self.step, means)
        norm = gradient_norm(self.supernet) if self.record.is_open else None
        self.record.step(self.step, means, self.stepper.lr, norm)

    def _role(self, arch: Architecture) -> str:
        return self._roles.get(arch, "between")

    def _finish_epoch(self) -> None:
        epoch, options = self.step // self.epoch_steps, self.options
        seen: dict[str, Result] = {}
        self.record.pace(self.step, options.batch_size, memory_mib(next(self.supernet.parameters()).device))
        looks = epoch % options.evaluate_every == 0 or self.stepper.schedule.ends(self.step)
        if looks and self.ranks.leads:
            with self.stepper.averaged():
                seen = self._seen(epoch)
        self.ranks.wait()
        self.record.epoch(epoch, self.step, self.stepper.lr, seen)
        log.info("epoch %d of %d: %s", epoch, options.epochs, self.words())

    def _seen(self, epoch: int) -> dict[str, Result]:
        """What the smallest and the largest subnet are worth on the search split; watched ones are noted, when due."""
        options = self.options
        evaluate = Evaluator(
            self.supernet,
            self.dataset,
            examples=options.evaluate_examples,
            calibration_examples=options.calibration_examples,
        )
        ends = {arch: evaluate(arch) for arch in self._roles}
        if self.record.is_open and is_due(self.record.looks, epoch, options.epochs):
            self._look(epoch, lambda arch: ends.get(arch) or evaluate(arch))
        return {role: ends[arch] for arch, role in self._roles.items()}

    @cached_property
    def _watched(self) -> dict[Architecture, int]:
        options = self.options
        if options.watched == 0:
            return {}
        return watched(self.supernet.space, lambda: self._costs, options.watched, options.seed)

    def _look(self, epoch: int, evaluate: Callable[[Architecture], Result]) -> None:
        """At the subnets that are watched through the training."""
        if self._watched:
            values = [evaluate(arch).value for arch in self._watched]
            self.record.look(
                Look(epoch, list(self._watched.values()), values), self.step, self.task.measures[0]
            )
        if self.step == self.steps:
            self.record.draw(self.step, self.task.measures[0])

    def words(self) -> str:
        """How it goes, from the last epoch that was looked at."""
        said = []
        if self.record.last_seen is not None:
            largest, smallest = map(self.task.measures[0].show, self.record.last_seen)
            said.append(f"{self.task.measures[0].name} of the largest {largest}, of the smallest {smallest}")
        if self.guard.rollbacks:
            said.append(f"went back to step {self.guard.rollbacks[-1].to}, {self.guard.rate:g} of the rate")
        return "; ".join(said)

    def _belongs_to(self) -> dict[str, Any]:
        """What has to be equal for a checkpoint to be continued."""
        options = {key: value for key, value in to_plain(self.options).items() if key not in FREE}
        return {
            **options,
            "space": self.supernet.space.fingerprint,
            "strategy": repr(self.strategy),
            "data": self.dataset.identity(),
            "weights": began_with(self.supernet),
            "teacher": self.taught_by,
            "processes": self.ranks.count,
        }

    def _save(self, *, good: bool) -> None:
        if self.folder is None or not self.ranks.leads:
            if good and self.options.rollbacks:
                self.checkpoints.hold(*self._state())
            return
        self._check_folder()
        if json.loads(json.dumps(self.state)) != self.state:
            raise StateError(
                f"{type(self.strategy).__name__} keeps a state that JSON changes; use lists, strings as keys and "
                f"finite numbers: {self.state!r:.200}"
            )
        self.checkpoints.write(*self._state(), good=good)

    def _state(self) -> State:
        """Everything that is needed to go on from here."""
        model = {f"{_MODEL}{name}": tensor for name, tensor in self.supernet.state_dict().items()}
        document = {
            "run": self._belongs_to(),
            "step": self.step,
            "strategy_state": self.state,
            "reordered": self.reordered,
            "guard": self.guard.to_json(),
            "memory": self.memory and self.memory.to_json(),
            **self.record.to_json(),
        }
        return model | self.stepper.tensors(), document

    def _check_folder(self, cause: Exception | None = None) -> None:
        """Writing would make a folder anew that somebody removed, without what else belongs to a run."""
        if self._lock is not None and is_removed(self._lock):
            raise StateError(
                f"{self.folder} was removed during the training, which cannot go on; train again to begin anew"
            ) from cause

    def _resume(self) -> None:
        path = self.checkpoints.last_path
        if path is None or (last := self.checkpoints.last()) is None:
            return
        ended = last[1]["step"] == self.steps
        check_same(path, last[1]["run"], self._belongs_to(), self.options, ended=ended)
        self._restore(last)
        if self.options.rollbacks and not self.ranks.leads:  # before the first one replaces the file
            self.checkpoints.hold(*self.checkpoints.good())
        log.info("going on after step %d of %d", self.step, self.steps)

    def _restore(self, state: State) -> None:
        tensors, document = state
        self.supernet.load_state_dict(below(_MODEL, tensors))
        self.stepper.restore(tensors)
        self.step = document["step"]
        self.state = document.get("strategy_state", {})
        self.reordered = document["reordered"]
        note_order(self.supernet, document["reordered"])
        self.record.restore(document)
        self.guard = Guard.from_json(document.get("guard", {}))
        memory = document.get("memory")
        self.memory = memory and Plan(**memory)
