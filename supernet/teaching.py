"""What a lesson learns from beside the targets: a subnet of the same step, or a network that was trained before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from supernet.calibrate import calibrate
from supernet.elastic.storage import WEIGHTS
from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError, ConversionError, WeightsError, did_you_mean
from supernet.features import caught
from supernet.losses import Distance
from supernet.options import TEACHERS, TrainOptions
from supernet.space import Value
from supernet.strategies import Lesson
from supernet.tasks.task import Batch, Dataset, Task, main_tensor, moved
from supernet.weights import load_weights, sha256_of

FILE = "teacher.safetensors"
"""The fine-tuned teacher of a training, in its folder."""
TAUGHT = 0.5
"""Weight of a teacher's answers where the options leave it open."""
TEACHER = "teacher"
"""The folder in there of its own training."""


class Answer(NamedTuple):
    """What a network says to a batch.

    Args:
        outputs: as it returns them.
        features: of its stages, by path, where somebody learns from those too.
    """

    outputs: Any
    features: dict[str, Tensor]


@dataclass(frozen=True)
class Teacher:
    """A network that was trained before, and now only answers.

    Args:
        network: in evaluation mode.
        values: of the choices that concern its inputs, see `Supernet.input_values`.
        macs: multiply-adds of an answer to one example; None where its costs are not known.
        layout: of its tensors in memory.
    """

    network: nn.Module
    values: Mapping[str, Value]
    macs: int | None
    layout: torch.memory_format

    @torch.no_grad()
    def answer(self, task: Task, batch: Batch, stages: Sequence[str] = ()) -> Answer:
        """To the examples of a batch, at its own resolution; with the features of some stages."""
        with caught(self.network, stages) as features:
            outputs = task.inputs(batch, self.values).to(memory_format=self.layout).call(self.network)
        return Answer(outputs, features)


@dataclass
class Teaching:
    """What the lessons of one step can learn from, on one piece of the batch.

    Args:
        weight: of a teacher's answers against the targets.
        ask: what a teacher that was trained before answers to some examples; None where there is none.
        knows: whether a lesson of the same step is worth listening to; one that brings its own distance listens
            all the same.
        answers: of the lessons so far, without gradients.
    """

    weight: float
    ask: Callable[[Batch], Answer] | None = None
    knows: bool = True
    answers: list[Answer] = field(default_factory=list)
    _asked: dict[tuple[int, int], Answer] = field(default_factory=dict)

    def of(self, lesson: Lesson, own: Batch) -> Answer | None:
        """The answer that one lesson learns from: the given one, else that of the lesson that it names.

        Args:
            lesson: who learns.
            own: the examples that it sees; a teacher of before answers once to those of lessons that see the same.
        """
        if self.ask is None:
            number = lesson.teacher if self.knows or lesson.distance else None
            return None if number is None else self.answers[number]
        if lesson.part not in self._asked:
            self._asked[lesson.part] = self.ask(own)
        return self._asked[lesson.part]


def heard(options: TrainOptions, done: int, steps: int) -> float:
    """The weight of teachers' answers after so many steps of a schedule."""
    if options.teacher == "none":
        return 0.0
    weight = TAUGHT if options.distil_weight is None else options.distil_weight
    return weight if done >= options.distil_after * steps else 0.0


def knows(supernet: Supernet, options: TrainOptions) -> bool:
    """Whether the largest is a teacher from the start: it begins with trained weights, or was asked to teach."""
    asked = options.distil_weight is not None or options.block_distil_weight > 0
    return asked or bool({"weights", "part_of", "continued"} & (supernet.origin or {}).keys())


def lesson_loss(
    task: Task,
    outputs: Any,
    batch: Batch,
    teacher: Any | None,
    distil_weight: float,
    smoothing: float = 0.0,
    distance: Distance | None = None,
) -> Tensor:
    """The batch's targets and a teacher's answers, mixed.

    Learning from the teacher alone starves a short run whose teacher knows nothing yet: on digits a
    sketch lost 15 points, and the quickstart's recipe loses 0.6 of its smallest subnet (three seeds).

    Args:
        task: says what a loss is.
        outputs: of the pupil.
        batch: what it answered to.
        teacher: outputs of the teacher; None for targets only.
        distil_weight: weight of the teacher, the targets have the rest.
        smoothing: of the targets.
        distance: from the teacher; None for that of the task.
    """
    if teacher is None or distil_weight == 0:
        return task.loss(outputs, batch, smoothing=smoothing)
    targets = task.loss(outputs, batch, smoothing=smoothing)
    if distance is None:
        taught = task.loss(outputs, batch, teacher)
    else:
        taught = task.loss(outputs, batch, teacher, distance=distance)
    return (1 - distil_weight) * targets + distil_weight * taught


def taught_by(options: TrainOptions, folder: Path | None) -> str:
    """What names the teacher of a training: the word that asked for it, or the hash of its file.

    Raises:
        ConfigError: when it is to be read from a place where nothing lies.
    """
    if options.teacher == "finetuned":
        path = folder and folder / FILE
        return f"finetuned {sha256_of(path)}" if path and path.exists() else "finetuned"
    if options.teacher in TEACHERS:
        return options.teacher
    place = Path(options.teacher).expanduser()
    path = place / WEIGHTS if place.is_dir() else place
    if not path.is_file():
        raise ConfigError(
            f"train.teacher is {options.teacher!r}: nothing lies there{did_you_mean(options.teacher, TEACHERS)}; "
            f"beside these words, it can be a file of weights or the folder of a supernet"
        )
    return sha256_of(path)


def alone(options: TrainOptions) -> TrainOptions:
    """The recipe by which the largest network is fine-tuned before it teaches: the same, but nobody else learns."""
    epochs = options.teacher_epochs or options.stretches[0]
    return replace(
        options, strategy="alone", strategy_options={}, epochs=epochs, restarts=(), teacher="none",
        teacher_epochs=0, block_distil_weight=0.0, reorder="none", evaluate_every=epochs,
    )  # fmt: skip


def teacher_from(
    place: Path, supernet: Supernet, dataset: Dataset, options: TrainOptions, layout: torch.memory_format
) -> Teacher:
    """The network that lies somewhere, ready to answer on the device of the supernet.

    Args:
        place: weights of the supernet's own largest network in a file (by name), or the folder of any
            supernet for the same task, whose largest subnet teaches with statistics from the calibration examples.
        supernet: whose lessons are to learn from it; left as it is.
        dataset: brings the task, and those examples.
        options: how many, and the seed.
        layout: of the teacher's tensors.

    Raises:
        WeightsError: when the weights do not fit, or answer with other classes.
        StateError: when there is no supernet in the folder, or it is damaged.
    """
    task, largest = dataset.task, supernet.space.largest()
    if not place.is_dir():
        network = supernet.extract(largest)
        fresh = load_weights(network, place, channels=task.network.get("channels")).fresh
        if fresh:
            raise _of_other_classes(place, ", ".join(fresh))
        return teacher_of(supernet, network, task, layout)
    device = next(supernet.parameters()).device
    owner = Supernet.load(place).to(device)
    subnet = owner.subnet(owner.space.largest())
    batches = dataset.calibration_batches(options.calibration_examples, options.batch_size, options.seed)
    values = owner.input_values(subnet.arch)
    shown = [task.inputs(moved(batch, device), values) for batch in batches]
    teacher = teacher_of(owner, owner.extract(subnet.arch, calibrate(subnet, shown)), task, layout)
    ours = Teacher(supernet.extract(largest).eval(), supernet.input_values(largest), None, layout)
    told, asked = (_classes(one, task, batches[0]) for one in (teacher, ours))
    if told != asked:
        raise _of_other_classes(place, f"{told} for {asked}")
    return teacher


def teacher_of(owner: Supernet, network: nn.Module, task: Task, layout: torch.memory_format) -> Teacher:
    """A teacher of the largest subnet of a supernet, cut out."""
    largest = owner.space.largest()
    try:
        macs = owner.costs(None if owner.example is not None else task.example_inputs()).of(largest).macs
    except ConversionError:
        macs = None
    placed = network.eval().to(memory_format=layout)
    return Teacher(placed, owner.input_values(largest), macs, layout)


def _classes(teacher: Teacher, task: Task, batch: Batch) -> list[int]:
    """The shape of its answers, whatever the size of maps."""
    device = next(teacher.network.parameters()).device
    shape = main_tensor(teacher.answer(task, moved(batch, device)).outputs).shape
    return list(shape[1:2] if len(shape) == 4 else shape[1:])


def _of_other_classes(place: Path, what: str) -> WeightsError:
    return WeightsError(
        f"{place} gives other answers than are learnt here ({what}), so it can not teach them; fine-tune it on "
        f"these data first: supernet.weights, and train.teacher=finetuned"
    )
