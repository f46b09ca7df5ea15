"""A training shows its pace, its gradients, and what a few subnets become."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from supernet.curves import LOG
from supernet.data import ImageDataset
from supernet.elastic.costs import Costs
from supernet.errors import ConversionError
from supernet.evaluate import Evaluator
from supernet.options import DataOptions, TrainOptions
from supernet.sight import FIGURE, Look, draw_watched, gradient_norm, is_due, memory_mib, watched
from supernet.sources import load_data
from supernet.trainer import Trainer
from tests.tiny import tiny_images, tiny_supernet

OPTIONS = TrainOptions(epochs=2, batch_size=8, lr=0.02, evaluate_examples=16, calibration_examples=16)


def test_the_watched_subnets_are_both_ends_and_an_even_spread_between() -> None:
    net = tiny_supernet()
    costs = net.costs(tiny_images())
    found = watched(net.space, lambda: costs, 3, seed=0)
    archs, macs = list(found), list(found.values())
    assert (archs[0], archs[-1]) == (net.space.smallest(), net.space.largest())
    assert macs == costs.macs(net.space.matrix(archs)).tolist() == sorted(macs)
    steps = np.diff(macs) / (macs[-1] - macs[0])
    assert len(archs) == 5 and steps.min() > 0.15 and steps.max() < 0.35
    assert watched(net.space, lambda: costs, 3, seed=0) == found
    assert list(watched(net.space, lambda: costs, 0, seed=0)) == [archs[0], archs[-1]]


def test_nothing_is_watched_where_costs_are_not_known() -> None:
    def unknown() -> Costs:
        raise ConversionError("no rule")

    assert watched(tiny_supernet().space, unknown, 3, seed=0) == {}


@pytest.mark.parametrize(("epochs", "seen"), [(2, [1, 2]), (5, [1, 2, 3, 4, 5]), (12, [3, 6, 9, 12])])
def test_looks_are_about_five_and_the_last_epoch_is_one(epochs: int, seen: list[int]) -> None:
    looks: list[Look] = []
    for epoch in range(1, epochs + 1):
        if is_due(looks, epoch, epochs):
            looks.append(Look(epoch, [1], [1.0]))
    assert [look.epoch for look in looks] == seen


def test_the_norm_is_that_of_all_gradients_together() -> None:
    layer = nn.Linear(2, 1)
    assert gradient_norm(layer) == 0.0
    layer.weight.grad, layer.bias.grad = torch.tensor([[3.0, 0.0]]), torch.tensor([4.0])
    assert gradient_norm(layer) == 5.0
    assert memory_mib(torch.device("cpu")) > 50  # PyTorch alone takes more


def test_a_training_draws_what_the_watched_subnets_became(tmp_path: Path) -> None:
    data = load_data(DataOptions(resolution=32, channels=3))
    assert isinstance(data, ImageDataset)
    few = replace(data, train=data.train.take(torch.arange(32)))
    trainer = Trainer(tiny_supernet(), few, OPTIONS, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(_stop)
    trainer = Trainer(tiny_supernet(), few, OPTIONS, tmp_path)
    (epoch, last) = trainer.run()
    assert [look.epoch for look in trainer.record.looks] == [1, 2]
    values = trainer.record.looks[-1].values
    judge = Evaluator(trainer.supernet, few, examples=16, calibration_examples=16)
    archs = list(watched(trainer.supernet.space, lambda: trainer._costs, OPTIONS.watched, OPTIONS.seed))
    assert values == [judge(arch).value for arch in archs]
    assert (values[0], values[-1]) == (last.smallest, last.largest)
    with Image.open(tmp_path / FIGURE) as picture:
        assert picture.size == (1500, 840)
    events = EventAccumulator(str(tmp_path / LOG)).Reload()
    assert [event.step for event in events.Images("watched")] == [8]
    assert [event.step for event in events.Scalars("watched_accuracy/0")] == [4, 8]
    assert all(event.value > 0 for event in events.Scalars("gradient_norm"))
    assert [event.step for event in events.Scalars("examples_per_second")] == [4, 8]
    assert epoch.epoch == 1


def _stop(done: int, total: int, words: str) -> None:
    if done == 4:
        raise KeyboardInterrupt


def test_every_look_is_a_line_of_its_own(tmp_path: Path) -> None:
    data = load_data(DataOptions(resolution=8))
    looks = [Look(1, [1_000_000, 2_000_000], [20.0, 30.0]), Look(2, [1_000_000, 2_000_000], [50.0, 70.0])]
    one, two = (
        draw_watched(some, data.task.measures[0], tmp_path / f"{len(some)}.png").read_bytes()
        for some in (looks[:1], looks)
    )
    assert one != two
