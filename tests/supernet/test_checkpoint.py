"""What is kept of a training survives a full disk, and a crash between any two writes."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from supernet.checkpoint import CHECKPOINT, GOOD, Checkpoints
from supernet.data import ImageDataset
from supernet.errors import StateError
from supernet.options import DataOptions, TrainOptions
from supernet.sources import load_data
from supernet.trainer import Trainer
from tests.tiny import tiny_supernet

OPTIONS = TrainOptions(
    epochs=2,
    batch_size=8,
    lr=0.02,
    evaluate_examples=8,
    calibration_examples=8,
    checkpoint_seconds=0,
    watched=0,
)


@pytest.fixture
def full_at() -> Iterator[None]:
    """Afterwards files may be of any size again."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _full(path: Path) -> None:
    """From now on no file becomes larger than half of this one."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2, hard))


@pytest.mark.usefixtures("full_at")
def test_a_full_disk_leaves_the_last_checkpoint_and_the_training_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    data = load_data(DataOptions(resolution=32, channels=3))
    assert isinstance(data, ImageDataset)
    few = replace(data, train=data.train.take(torch.arange(24)))
    Trainer(tiny_supernet(), few, OPTIONS, tmp_path / "whole").run()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(done: int, total: int, words: str) -> None:
        if done == 4:
            _full(tmp_path / "parts" / CHECKPOINT)

    with pytest.raises(StateError, match=r"cannot write .*; free some space; the state after step 4 is kept"):
        Trainer(tiny_supernet(), few, OPTIONS, tmp_path / "parts").run(fill)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "parts").glob("*.part"))
    resumed = Trainer(tiny_supernet(), few, OPTIONS, tmp_path / "parts")
    assert resumed.step == 4
    resumed.run()
    whole, parts = ((tmp_path / name / CHECKPOINT).read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def _state(step: int) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    return {"weight": torch.full((2,), float(step))}, {"step": step}


def _step(state: tuple[dict[str, torch.Tensor], dict[str, int]] | None) -> int:
    assert state is not None and state[0]["weight"].tolist() == [state[1]["step"]] * 2
    return state[1]["step"]


def test_the_last_good_state_is_that_of_the_last_epoch_whatever_was_written_since(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    assert kept.last() is None
    kept.hold(*_state(0))
    for step, good in ((1, 0), (2, 0), (4, 4), (5, 4), (6, 4), (8, 8)):
        kept.write(*_state(step), good=step == good)
        for each in (kept, Checkpoints(tmp_path)):
            assert _step(each.last()) == step and _step(each.good()) == good
    assert not (tmp_path / GOOD).exists()


def test_a_crash_between_two_renames_leaves_the_good_state(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.write(*_state(4), good=True)
    (tmp_path / CHECKPOINT).replace(tmp_path / GOOD)
    again = Checkpoints(tmp_path)
    assert _step(again.last()) == 4
    again.write(*_state(5), good=False)
    assert (_step(again.last()), _step(again.good())) == (5, 4)


def test_a_held_state_does_not_move_with_what_is_trained(tmp_path: Path) -> None:
    tensors, document = _state(4)
    kept = Checkpoints(None)
    kept.hold(tensors, document)
    tensors["weight"].zero_()
    document["step"] = 5
    state = kept.good()
    assert _step(state) == 4
    state[0]["weight"].zero_()
    assert _step(kept.good()) == 4
