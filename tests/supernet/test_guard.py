"""A training that blows up goes back and goes on; one that is well does not notice that it is watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from supernet.checkpoint import CHECKPOINT, GOOD, read_document
from supernet.curves import LOG
from supernet.data import ImageDataset
from supernet.errors import SupernetError
from supernet.guard import IN_A_ROW, BlownUp, Guard, Rollback
from supernet.options import DataOptions, TrainOptions
from supernet.sources import load_data
from supernet.strategies import Context, Lesson
from supernet.trainer import Trainer
from tests.tiny import tiny_supernet

OPTIONS = TrainOptions(epochs=3, batch_size=8, lr=0.02, evaluate_examples=8, calibration_examples=8)
STEPS = 4
"""Of an epoch."""


@pytest.fixture(scope="module")
def few() -> ImageDataset:
    found = load_data(DataOptions(resolution=32, channels=3))
    assert isinstance(found, ImageDataset)
    return replace(found, train=found.train.take(torch.arange(8 * STEPS)))


@dataclass
class Bursts:
    """Trains the two ends; a few times it comes to a step, it makes the weights burst."""

    at: int
    left: int = field(default=1, repr=False)

    def lessons(self, context: Context) -> list[Lesson]:
        bursts = context.step == self.at and self.left > 0
        self.left -= bursts
        context.state["steps"] = context.state.get("steps", 0) + 1
        space = context.space
        return [Lesson(space.largest(), weight=1e12 if bursts else 1.0), Lesson(space.smallest())]


def trainer(few: Any, strategy: Bursts | None = None, folder: Path | None = None, **options: Any) -> Trainer:
    return Trainer(
        tiny_supernet(), few, replace(OPTIONS, **options), folder, strategy=strategy or Bursts(5, 0)
    )


def weights(of: Trainer) -> list[torch.Tensor]:
    return [value.clone() for value in of.supernet.state_dict().values()]


def equal(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("kept", [True, False])
def test_after_a_burst_it_is_the_training_that_had_half_the_rate_from_there_on(
    few: ImageDataset, tmp_path: Path, kept: bool
) -> None:
    burst = trainer(few, Bursts(5), tmp_path / "burst" if kept else None)
    history = burst.run()
    (rollback,) = burst.guard.rollbacks
    assert (rollback.step, rollback.to, rollback.rate) == (7, STEPS, 0.5)
    calm = trainer(few)

    def halve(done: int, total: int, words: str) -> None:
        if done == STEPS:
            calm.guard.rollbacks.append(rollback)

    assert calm.run(halve) == history
    assert equal(weights(burst), weights(calm)) and burst.state == calm.state == {"steps": 12}
    assert [epoch.step for epoch in history] == [4, 8, 12]


def test_one_that_bursts_in_its_first_epoch_begins_anew_without_the_momentum_it_had(
    few: ImageDataset,
) -> None:
    burst, calm = trainer(few, Bursts(1)), trainer(few)
    burst.run()
    (rollback,) = burst.guard.rollbacks
    assert rollback.to == 0
    calm.guard.rollbacks.append(rollback)
    calm.run()
    assert equal(weights(burst), weights(calm))


def test_a_calm_training_is_bit_for_bit_what_it_is_without_the_guard(few: ImageDataset) -> None:
    watched, alone = (trainer(few, rollbacks=allowed) for allowed in (2, 0))
    assert watched.run() == alone.run() and equal(weights(watched), weights(alone))


@pytest.mark.parametrize(
    ("stop", "seconds"),
    [(6, 60.0), (7, 0.0), *(pytest.param(*rest, marks=pytest.mark.slow) for rest in ((6, 0.0), (7, 60.0)))],
)
def test_a_training_that_went_back_and_was_killed_ends_at_the_same_bytes(
    few: ImageDataset, tmp_path: Path, stop: int, seconds: float
) -> None:
    trainer(few, Bursts(5), tmp_path / "whole", checkpoint_seconds=seconds).run()
    parts = trainer(few, Bursts(5), tmp_path / "parts", checkpoint_seconds=seconds)
    with pytest.raises(KeyboardInterrupt):
        parts.run(_interrupt(stop, went_back=1))
    resumed = trainer(few, Bursts(5, 0), tmp_path / "parts", checkpoint_seconds=seconds)
    assert resumed.step == (stop if seconds == 0 else STEPS) and resumed.guard.rate == 0.5
    resumed.run()
    whole, parts_ = ((tmp_path / name / CHECKPOINT).read_bytes() for name in ("whole", "parts"))
    assert whole == parts_


def test_what_a_killed_training_goes_back_to_does_not_depend_on_the_clock(
    few: ImageDataset, tmp_path: Path
) -> None:
    whole = trainer(few, Bursts(6), tmp_path / "whole")
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        trainer(few, Bursts(6), tmp_path / "parts", checkpoint_seconds=0).run(_interrupt(6))
    assert read_document(tmp_path / "parts" / GOOD)["step"] == STEPS
    resumed = trainer(few, Bursts(6), tmp_path / "parts")
    assert resumed.step == 6
    resumed.run()
    assert resumed.guard == whole.guard and equal(weights(resumed), weights(whole))
    assert not (tmp_path / "parts" / GOOD).exists()


def _interrupt(at: int, went_back: int = 0) -> Callable[[int, int, str], None]:
    def stop(done: int, total: int, words: str) -> None:
        if done == at and ("went back" in words) == bool(went_back):
            raise KeyboardInterrupt

    return stop


def test_a_burst_in_the_last_step_of_an_epoch_is_not_taken_for_its_good_state(few: ImageDataset) -> None:
    burst = trainer(few, Bursts(2 * STEPS - 1))
    burst.run()
    (rollback,) = burst.guard.rollbacks
    assert (rollback.step, rollback.to) == (2 * STEPS, STEPS)


class _Poisoned:
    """Data whose batch of one step holds no number."""

    def __init__(self, data: ImageDataset) -> None:
        self.data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)

    def batch(self, step: int, *args: Any, **options: Any) -> Any:
        images, labels = self.data.batch(step, *args, **options)
        return images * (nan if step == 5 else 1), labels


@pytest.mark.parametrize("kept", [True, False])
def test_the_third_time_ends_it_and_the_last_good_state_is_kept(
    few: ImageDataset, tmp_path: Path, kept: bool
) -> None:
    poisoned = trainer(_Poisoned(few), folder=tmp_path if kept else None)
    with pytest.raises(
        SupernetError,
        match=r"the loss of the largest subnet is nan at step 6, after going back 2 times with half the learning "
        r"rate; the state after step 4 is kept; try a lower learning rate \(lr is 0\.02\) or a longer warm-up",
    ):
        poisoned.run()
    assert [(each.step, each.to, each.rate) for each in poisoned.guard.rollbacks] == [
        (6, 4, 0.5),
        (6, 4, 0.25),
    ]
    assert poisoned.step == STEPS and all(value.isfinite().all() for value in weights(poisoned))
    if kept:
        again = trainer(_Poisoned(few), folder=tmp_path)
        assert again.step == STEPS and equal(weights(again), weights(poisoned))


def test_going_back_is_told_in_the_log_the_curves_and_the_progress(
    few: ImageDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    trainer(few, Bursts(5), tmp_path).run(lambda done, total, words: told.append(f"{done}: {words}"))
    assert any(line.startswith("4:") and "went back to step 4, 0.5 of the rate" in line for line in told)
    assert "at step 7; going on after step 4 with 0.5 of the learning rate" in caplog.text
    events = EventAccumulator(str(tmp_path / LOG)).Reload()
    assert [event.step for event in events.Scalars("loss/largest")] == list(range(1, 13))
    (text,) = events.Tensors("guard/text_summary")
    assert b"going on after step 4" in text.tensor_proto.string_val[0]


def _watched(*losses: float, role: str = "largest") -> int | None:
    """The position of the loss at which a guard steps in."""
    guard = Guard(knowing_nothing=2.3)
    for step, loss in enumerate(losses):
        try:
            guard.look(step, {role: loss})
        except BlownUp:
            return step
    return None


CALM = [0.5 + 0.01 * (i % 5) for i in range(50)]


def test_what_no_batch_explains_is_seen_at_once() -> None:
    assert _watched(0.5, nan) == 1
    assert _watched(0.5, float("inf")) == 1
    assert _watched(0.5, 24.0) == 1
    assert _watched(0.5, 22.0, 0.5) is None


def test_a_network_that_begins_worse_than_knowing_nothing_may_learn() -> None:
    assert _watched(90.0, 80.0, 95.0, *[20.0] * 30, *[5.0] * 30) is None
    assert _watched(90.0, 901.0) == 1


def test_a_few_strange_batches_are_none_of_its_business_and_more_in_a_row_are() -> None:
    assert _watched(*CALM, *[9.0] * (IN_A_ROW - 1), 0.5, *[9.0] * (IN_A_ROW - 1)) is None
    assert _watched(*CALM, *[9.0] * IN_A_ROW) == len(CALM) + IN_A_ROW - 1


def test_the_largest_that_knows_nothing_again_is_lost_and_a_subnet_of_a_new_phase_is_not() -> None:
    fallen = [*CALM, *[2.5] * 10]
    assert _watched(*fallen) == len(CALM) + IN_A_ROW - 1
    assert _watched(*fallen, role="between") is None
    assert _watched(*CALM, *[7.5] * 10, role="between") == len(CALM) + IN_A_ROW - 1
    # worse than before by far, and still better than knowing nothing: the rate went up at a restart
    assert _watched(*CALM, *[2.0] * 10) is None


def test_a_guard_is_read_back_equal() -> None:
    guard = Guard(
        2.3, {"largest": 2.5}, {"largest": [0.1, 0.2]}, {"largest": 1}, [Rollback(7, 4, 0.5, "why")]
    )
    assert Guard.from_json(guard.to_json()) == guard
    assert Guard.from_json({}) == Guard()
