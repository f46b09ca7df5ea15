"""The modes of a training that has so many bytes to do with: the real step of its largest subnet is measured."""

from __future__ import annotations

from typing import Any

import torch

from supernet.elastic.subnet import Subnet
from supernet.guard import Guard
from supernet.lessons import Lessons
from supernet.memory.auto import Plan, Subject, plan
from supernet.memory.modes import Execution
from supernet.memory.sizes import bytes_of
from supernet.probing import fixed_buffers
from supernet.strategies import Lesson
from supernet.tasks.task import Batch, piece_of


def planned(lessons: Lessons, batch: Batch, memory: str, step: int) -> Plan:
    """The fastest modes for the lessons of a training within a number of bytes.

    Lessons run one after the other, so the largest subnet decides: two of its lessons are the step, the second beside
    the gradients of the first and taught by its answers. Weights, gradients, statistics and global randomness stay as
    they are.

    Args:
        lessons: of the training; nothing has a gradient yet.
        batch: the first that is learnt from.
        memory: the bytes, as ``train.memory`` says.
        step: whose teachers there are: the last of the training, when all of them teach.

    Raises:
        ConfigError: when that is too little; the message says what is needed.
    """
    supernet = lessons.supernet
    parameters = list(supernet.parameters())
    before = lessons.execution
    supernet.train()
    try:
        with torch.random.fork_rng(), fixed_buffers(supernet):
            return plan(_subject(lessons, batch, step), bytes_of(memory))
    finally:
        lessons.execution = before
        for parameter in parameters:
            parameter.grad = None


def _subject(lessons: Lessons, batch: Batch, step: int) -> Subject[Subnet]:
    supernet, piece = lessons.supernet, lessons.pieces[0]
    largest = supernet.space.largest()
    own = piece_of(batch, *piece)[0]
    inputs = lessons.task.inputs(own, supernet.input_values(largest)).to(memory_format=lessons.layout)
    guard = Guard(knowing_nothing=0.0)

    def make(execution: Execution) -> Subnet:
        """The largest subnet, as the training runs it."""
        return supernet.subnet(largest, execution=execution)

    def run(subnet: Subnet) -> Any:
        """An answer, in the precision of the training."""
        with lessons.stepper.autocast():
            return subnet(*inputs.args, **inputs.kwargs)

    def both(subnet: Subnet) -> None:
        """Two lessons."""
        lessons.execution = subnet.execution
        teaching = lessons.teaching(step)
        for lesson in (Lesson(largest), Lesson(largest, teacher=0)):
            teaching.answers.append(lessons.teach(lesson, batch, piece, teaching, guard)[0])
        for parameter in supernet.parameters():
            parameter.grad = None

    device = next(supernet.parameters()).device
    return Subject(make, run, both, device, lambda subnet: subnet.network)
