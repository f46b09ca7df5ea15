"""What other processes make ahead is what would have been made here, in every way that shows."""

from __future__ import annotations

import logging
import os
import random
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from supernet.ahead import Ahead
from supernet.data import ImageDataset
from supernet.errors import DataError
from supernet.options import DataOptions, TrainOptions
from supernet.sources import load_data
from supernet.trainer import CHECKPOINT, Trainer
from tests.supernet.test_data import image_folder
from tests.supernet.test_trainer import small_supernet

AUGMENTED = {
    "random_crop": (0.3, 1.0),
    "auto_augment": "rand-m9-mstd0.5-inc1",
    "erasing": 0.5,
    "mixup": 0.2,
    "cutmix": 1.0,
}


def photographs(root: Path, workers: int) -> ImageDataset:
    if not root.exists():
        image_folder(root, {"train": {"a": 14, "b": 12}})
    found = load_data(DataOptions(f"folder:{root}", workers=workers, **AUGMENTED))  # type: ignore[arg-type]
    assert isinstance(found, ImageDataset)
    return found


def batches(data: ImageDataset, steps: range) -> list[tuple[Tensor, Tensor]]:
    ahead = Ahead(partial(data.batch, batch_size=4, seed=1), 8, data.workers)
    return [ahead(step) for step in steps]


def test_batches_are_the_same_with_two_workers_and_with_none_and_from_any_step_on(tmp_path: Path) -> None:
    alone, helped = (photographs(tmp_path / "images", workers) for workers in (0, 2))
    assert alone.identity() == helped.identity()
    whole = batches(alone, range(8))
    for from_step in (0, 3):
        for ours, theirs in zip(whole[from_step:], batches(helped, range(from_step, 8)), strict=True):
            assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
    assert len({images.sum().item() for images, _ in whole}) == 8


def test_a_training_with_workers_ends_at_the_bytes_of_one_without(tmp_path: Path) -> None:
    options, found = TrainOptions(epochs=1, batch_size=512, evaluate_examples=9, calibration_examples=9), []
    for workers in (0, 2):
        data = load_data(DataOptions(resolution=8, mixup=0.2, erasing=0.5, workers=workers))
        trainer = Trainer(small_supernet(), data, options, tmp_path / str(workers))
        trainer.run()
        assert 0 < trainer.batches.waiting < 1
        found.append((tmp_path / str(workers) / CHECKPOINT).read_bytes())
    assert found[0] == found[1]


def made(step: int) -> int:
    if step == 2:
        raise DataError("the image of step 2 is damaged")
    logging.getLogger("supernet.images").warning("skipped one of step %d", step // 4)
    return step


def test_an_error_in_a_worker_is_that_of_the_step_and_a_warning_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ahead = Ahead(made, 6, workers=2)
    with caplog.at_level(logging.WARNING):
        assert [ahead(step) for step in (0, 1)] == [0, 1]
        with pytest.raises(DataError, match=r"^the image of step 2 is damaged$"):
            ahead(2)
        assert [ahead(step) for step in (3, 4, 5)] == [3, 4, 5]
    assert caplog.messages == ["skipped one of step 0", "skipped one of step 1"]


def died(step: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return step


def test_a_worker_that_dies_is_an_error_that_says_what_to_try() -> None:
    with pytest.raises(DataError, match=r"died .*data\.workers=0"):
        Ahead(died, 6, workers=1)(0)


def test_making_ahead_draws_nothing_from_the_shared_generators() -> None:
    random.seed(0), torch.manual_seed(0)
    before = random.getstate(), torch.random.get_rng_state()
    Ahead(made, 6, workers=1)(0)
    assert random.getstate() == before[0] and torch.equal(torch.random.get_rng_state(), before[1])
