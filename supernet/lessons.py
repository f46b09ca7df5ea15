"""What the lessons of a step do: each subnet answers, and its loss adds gradients to the shared weights."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from supernet.elastic.gradients import SliceGradients
from supernet.elastic.slicing import Slices
from supernet.elastic.subnet import modes_of
from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError
from supernet.features import caught
from supernet.guard import Guard
from supernet.healing import healed_stages, stage_loss
from supernet.memory.modes import Execution
from supernet.options import TrainOptions
from supernet.probing import Probe, fixed_buffers, without_dropout
from supernet.seeds import derive
from supernet.space import Architecture
from supernet.stepping import Stepper
from supernet.strategies import Lesson
from supernet.tasks.task import Batch, Task, piece_of
from supernet.teaching import Answer, Teacher, Teaching, heard, knows, lesson_loss


class Lessons:
    """How the subnets of one training learn from a batch.

    Args:
        supernet: whose.
        task: says what a loss is.
        options: the recipe.
        stepper: takes the gradients.
        pieces: of every batch that this process learns from, ``(i, n)`` for the ``i``-th of ``n``.
        layout: of inputs in memory.

    Raises:
        SupernetError: when no execution, mode or module is called as the options say.
    """

    def __init__(
        self,
        supernet: Supernet,
        task: Task,
        options: TrainOptions,
        stepper: Stepper,
        pieces: Sequence[tuple[int, int]],
        layout: torch.memory_format,
    ) -> None:
        modes_of(supernet.largest, options.execution)
        self.execution: Execution = options.execution
        """How they run: as the options say, or as a plan within a number of bytes does."""
        self.supernet, self.task, self.options, self.stepper = supernet, task, options, stepper
        self.gradients = SliceGradients(supernet)
        self.pieces, self.layout, self.ranks = pieces, layout, stepper.ranks
        self.knows = knows(supernet, options)
        self.healed = healed_stages(supernet.largest) if options.block_distil_weight else []
        self.teacher: Teacher | None = None
        """Whoever was trained before and teaches every lesson."""

    def learn(self, lessons: Sequence[Lesson], batch: Batch, step: int, guard: Guard) -> list[float]:
        """Add the gradients of all lessons of a step; their losses, over all processes."""
        losses: list[list[Tensor]] = [[] for _ in lessons]
        with torch.random.fork_rng():
            torch.manual_seed(derive(self.options.seed, "layers", step) + self.ranks.rank)
            for piece in self.pieces:
                teaching = self.teaching(step)
                for number, lesson in enumerate(lessons):
                    answer, loss = self.teach(lesson, batch, piece, teaching, guard)
                    teaching.answers.append(answer)
                    losses[number].append(loss)
        # read in the end: a GPU is waited for once in a step
        return self.ranks.totals([sum(loss.item() for loss in some) for some in losses])

    def probe(self, batch: Batch, step: int) -> Probe:
        """Looks at subnets on the batch of a step."""
        pieces = [piece_of(batch, *piece) for piece in self.pieces]
        seed = derive(self.options.seed, "probes", step)
        return Probe(self.supernet, self.task, pieces, self.answer, seed, self.ranks)

    def answer(self, arch: Architecture, batch: Batch, slices: Slices | None = None) -> Any:
        """What one subnet says to some examples, in the precision and by the execution of the recipe.

        Args:
            arch: which subnet.
            batch: the examples.
            slices: of `gradients`, for a lesson that leaves its gradients there.
        """
        inputs = self.task.inputs(batch, self.supernet.input_values(arch)).to(memory_format=self.layout)
        with self.stepper.autocast():
            if self.is_plain:
                slices = slices or self.supernet.slices(arch)
                return self.supernet.run(slices, arch, inputs.args, inputs.kwargs)
            subnet = self.stepper.partial.install_in(self.supernet.subnet(arch, execution=self.execution))
            return subnet(*inputs.args, **inputs.kwargs)

    @property
    def is_plain(self) -> bool:
        """Whether a subnet runs once as it is, and is then thrown away."""
        return self.execution == "plain" and not self.stepper.partial

    def teaching(self, step: int) -> Teaching:
        """What the lessons of a step can learn from."""
        _, done, steps = self.stepper.schedule.at(step)
        weight = heard(self.options, done, steps)
        if self.teacher is None or not (weight or self.healed):
            return Teaching(weight, knows=self.knows)
        return Teaching(weight, partial(self.teacher.answer, self.task, stages=self.healed))

    def teach(
        self, lesson: Lesson, batch: Batch, piece: tuple[int, int], teaching: Teaching, guard: Guard
    ) -> tuple[Answer, Tensor]:
        """Add the gradients of one lesson on a piece of its part of the batch.

        A part is cut into pieces, and not a piece into parts: the lesson then learns from the same examples however
        many processes and micro-batches there are.

        Returns:
            Its answer, and its share of the loss, without that of its stages.
        """
        options, parts = self.options, lesson.part[1]
        if parts * piece[1] > options.batch_size:
            raise ConfigError(
                f"a batch of {options.batch_size} cannot be dealt out among {parts} lessons; "
                f"raise train.batch_size, or ask the strategy for fewer"
            )
        own, share = piece_of(piece_of(batch, *lesson.part)[0], *piece)
        with ExitStack() as stack:
            if not lesson.moves_statistics:
                stack.enter_context(fixed_buffers(self.supernet))
            if not self._is_regularised(lesson):
                stack.enter_context(without_dropout(self.supernet))
            features = stack.enter_context(caught(self.supernet.largest, self.healed))
            slices = self.gradients.slices(lesson.arch) if self.is_plain else None
            outputs = self.answer(lesson.arch, own, slices)
        self._meet(guard, outputs, own)
        with self.stepper.autocast():
            teacher = teaching.of(lesson, own)
            loss = told = lesson_loss(
                self.task,
                outputs,
                own,
                teacher and teacher.outputs,
                teaching.weight,
                options.label_smoothing,
                lesson.distance,
            )
            if teacher and self.healed:
                loss = loss + options.block_distil_weight * stage_loss(features, teacher.features)
        self.stepper.backward(loss * lesson.weight * share)
        if slices:
            self.gradients.add_up(lesson.arch)
        return Answer(*_detached((outputs, features))), told.detach().double() * share

    def _meet(self, guard: Guard, outputs: Any, batch: Batch) -> None:
        """Show the guard the first answers of a training; all ranks then know the same."""
        if guard.knowing_nothing is None:
            guard.meet(self.task, outputs, batch)
            (told,) = self.ranks.totals([guard.knowing_nothing or 0.0])
            guard.knowing_nothing = told / self.ranks.count

    def _is_regularised(self, lesson: Lesson) -> bool:
        only_largest = self.options.regularise == "largest"
        return lesson.regularised and not (only_largest and lesson.arch != self.supernet.space.largest())


def _detached(outputs: Any) -> Any:
    return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, outputs)
