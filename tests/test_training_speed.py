"""The comparison of strategies in speed runs the steps it says, and shares them by what they cost."""

from __future__ import annotations

import pytest

from benchmarks.training_speed import PLAIN, Runner, Turn, _row, run, take_turns
from supernet.options import DataOptions, TrainOptions
from supernet.sources import load_data
from supernet.strategies import Sandwich, Standalone
from supernet.trainer import Trainer
from tests.tiny import tiny_supernet


def test_turns_are_spread_over_the_schedule_and_shared_by_multiply_adds() -> None:
    net, data = tiny_supernet(), load_data(DataOptions(resolution=32, channels=3))
    options = TrainOptions(epochs=100, batch_size=4)
    runners = {
        PLAIN: Runner(net, data, options, Standalone()),
        "few": Runner(net, data, options, Sandwich(0)),
    }
    turns = take_turns(runners, 2)
    costs = net.costs(data.task.example_inputs())
    smallest, largest = (costs.of(arch).macs for arch in (net.space.smallest(), net.space.largest()))
    assert all(turn.cut_out > 0 for turn in turns["few"])
    assert [turn.macs_share for turn in turns[PLAIN]] == [1, 1]
    assert turns["few"][0].macs_share == pytest.approx(1 + smallest / largest)
    assert all(runner.trainer.step == runner.trainer.steps // 2 + 1 for runner in runners.values())
    trainer = Trainer(net, data, options)
    run(trainer, 2)
    assert trainer.step == 2


def test_a_strategy_that_takes_twice_the_time_for_twice_the_work_is_at_one() -> None:
    turns = {PLAIN: [Turn(2.0, 1.0, 2.0)] * 3, "double": [Turn(4.0, 2.0, 3.2)] * 2 + [Turn(40.0, 2.0, 9.0)]}
    row = _row("double", turns, 32)
    assert (row["images a second"], row["over plain"], row["time over MACs"]) == (8.0, 0.5, 1.0)
    assert row["time over cut out"] == 1.25
