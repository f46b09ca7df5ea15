"""What every task and its data keep to, found through the data sources."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
import torch

from supernet.build import build
from supernet.elastic.inputs import Inputs
from supernet.options import DataOptions, SupernetOptions
from supernet.sources import load_data
from supernet.tasks.task import Dataset, SplitName, added_up, main_tensor

SOURCES = {
    "image-classification": (DataOptions("digits", resolution=8), SupernetOptions("mobile")),
    "image-segmentation": (DataOptions("scattered", resolution=24), SupernetOptions("unet")),
    "text-generation": (
        DataOptions(f"text:{Path(torch.__file__).parent / 'optim'}", length=16),
        SupernetOptions("decoder"),
    ),
}
SPLITS: tuple[SplitName, ...] = ("train", "search", "test")
every_task = pytest.mark.parametrize("name", SOURCES)


@lru_cache
def data(name: str) -> Dataset:
    return load_data(SOURCES[name][0])


@every_task
def test_a_source_brings_its_task(name: str) -> None:
    assert data(name).task.name == name


@every_task
def test_batches_of_a_step_are_the_same_whenever_asked_for_and_differ_by_step_and_seed(name: str) -> None:
    found = data(name)

    def leaves(step: int, seed: int) -> list[torch.Tensor]:
        return Inputs((found.batch(step, 8, seed),)).tensors

    for a, b in zip(leaves(3, 0), leaves(3, 0)):
        assert torch.equal(a, b)
    for step, seed in ((4, 0), (3, 1)):
        assert not all(torch.equal(a, b) for a, b in zip(leaves(3, 0), leaves(step, seed)))


@every_task
def test_a_split_is_seen_once_and_part_of_it_is_always_the_same(name: str) -> None:
    found, task = data(name), data(name).task
    for split in SPLITS:
        batches = list(found.batches(split, 64, 100))
        assert sum(task.inputs(batch).batch for batch in batches) == min(100, found.count(split))
        again = list(found.batches(split, 64, 100))
        for a, b in zip(Inputs((batches,)).tensors, Inputs((again,)).tensors):
            assert torch.equal(a, b)


# The files of a text repeat each other's lines; by which file they are split is tested beside.
@pytest.mark.parametrize("name", [name for name in SOURCES if name != "text-generation"])
def test_no_example_is_in_two_splits(name: str) -> None:
    found, task = data(name), data(name).task
    seen: dict[bytes, str] = {}
    for split in SPLITS:
        for batch in found.batches(split, 256):
            for row in task.inputs(batch).tensors[0]:
                key = row.numpy().tobytes()
                assert seen.setdefault(key, split) == split or len(row.unique()) < 8


@every_task
def test_scores_of_parts_add_up_to_the_score_of_the_whole(name: str) -> None:
    found, task = data(name), data(name).task
    (batch,) = found.batches("test", 40, 40)
    parts = list(found.batches("test", 10, 40))
    generator = torch.Generator().manual_seed(0)
    shape = (40, *answer_shape(name))
    answers = torch.randn(shape, generator=generator)
    whole = task.metrics(answers, batch)
    together = None
    for i, part in enumerate(parts):
        together = added_up(together, task.metrics(answers[10 * i : 10 * i + 10], part))
    assert together is not None
    assert [score.metric for score in whole] == list(task.measures)
    for one, other in zip(whole, together):
        assert one.value == pytest.approx(other.value)


def answer_shape(name: str) -> tuple[int, ...]:
    return {
        "image-classification": (10,),
        "image-segmentation": (11, 24, 24),
        "text-generation": (16, 256),
    }[name]


@every_task
def test_right_answers_score_best_and_cost_least(name: str) -> None:
    found, task = data(name), data(name).task
    (batch,) = found.batches("test", 30, 30)
    classes = answer_shape(name)[0] if name != "text-generation" else 256
    targets = batch[:, 1:] if name == "text-generation" else batch[1]
    right = 20.0 * torch.nn.functional.one_hot(targets, classes).float()
    right = right.movedim(-1, 1) if name == "image-segmentation" else right
    wrong = right.roll(1, 1 if name != "text-generation" else 2)
    good, bad = task.metrics(right, batch), task.metrics(wrong, batch)
    for score, other in zip(good, bad):
        best = 100.0 if score.metric.unit == "%" else 0.0
        assert score.value == pytest.approx(best, abs=1e-4)
        better = score.value > other.value if score.metric.sense == "max" else score.value < other.value
        assert better
    assert task.loss(right, batch) < task.loss(wrong, batch)
    assert task.loss(right, batch, teacher=right).item() == pytest.approx(0, abs=1e-6)
    assert task.loss(right, batch, teacher=wrong) > 1
    assert len(task.decode(right)) == 30


@every_task
def test_no_gradient_reaches_a_teacher(name: str) -> None:
    found, task = data(name), data(name).task
    (batch,) = found.batches("test", 4, 4)
    pupil, teacher = (torch.randn(4, *answer_shape(name), requires_grad=True) for _ in range(2))
    task.loss(pupil, batch, teacher=teacher).backward()  # type: ignore[no-untyped-call]
    assert pupil.grad is not None and teacher.grad is None


@every_task
def test_a_supernet_for_the_task_answers_to_its_inputs(name: str) -> None:
    found, task = data(name), data(name).task
    net = build(SOURCES[name][1], task)
    (batch,) = found.batches("search", 3, 3)
    for arch in (net.space.largest(), net.space.smallest()):
        inputs = task.inputs(batch, net.input_values(arch))
        outputs = inputs.call(net.subnet(arch))
        assert main_tensor(outputs).shape == (3, *answer_shape(name))
        assert task.loss(outputs, batch).isfinite()
        example = task.example_inputs(net.input_values(arch))
        assert [t.shape[1:] for t in example.tensors] == [t.shape[1:] for t in inputs.tensors]
        assert [t.dtype for t in example.tensors] == [t.dtype for t in inputs.tensors]
