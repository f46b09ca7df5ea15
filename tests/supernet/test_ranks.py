"""Two real processes give the numbers of one; and when one of them dies, the others say which."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import supernet.trainer as trainer_module
from supernet.errors import ConfigError, StateError
from supernet.options import TrainOptions
from supernet.trainer import CHECKPOINT, Trainer
from tests.supernet.memory.test_auto import coloured
from tests.supernet.strategies.course import few_images
from tests.supernet.test_stepping import OPTIONS, parameters, residual_supernet, small_supernet
from tests.tiny import tiny_supernet

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed"),
]
TOLD = "told.txt"


def joins(rank: int, ranks: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=ranks)


def train(rank: int, ranks: int, folder: Path, options: TrainOptions) -> None:
    """One of several processes; each leaves its weights."""
    joins(rank, ranks, folder)
    net = residual_supernet()
    trainer = Trainer(net, few_images(), options, folder / "run")
    trainer.run()
    torch.save((parameters(net), trainer.history[-1].losses), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def together(target: Any, ranks: int, *args: Any) -> list[int | None]:
    """Exit codes of processes that run at the same time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # one import for all of them
    running = [context.Process(target=target, args=(rank, ranks, *args)) for rank in range(ranks)]
    for process in running:
        process.start()
    for process in running:
        process.join(200)
        process.kill()
    return [process.exitcode for process in running]


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": "sandwich", "distil_after": 0.0, "distil_weight": 0.5, "clip_norm": 0.5, "ema": 0.9},
        {"strategy": "single_path", "accumulate": 2, "optimizer": "adamw", "lr": 0.01},
        {"strategy": "attentive"},
        {"strategy": "shift"},
        {"strategy": "preferred"},
        {"strategy": "sandwich", "teacher": "finetuned", "distil_after": 0.0},
    ],
    ids=lambda changes: changes.get("teacher", changes["strategy"]),
)
def test_two_processes_give_the_numbers_of_one(changes: dict[str, Any], tmp_path: Path) -> None:
    options = replace(OPTIONS, **changes)
    assert together(train, 2, tmp_path, options) == [0, 0]
    net = residual_supernet()
    (*_, last) = Trainer(net, few_images(), replace(options, accumulate=1)).run()
    weights, losses = torch.load(tmp_path / "0.pt", weights_only=True)
    others, _ = torch.load(tmp_path / "1.pt", weights_only=True)
    for name, value in parameters(net).items():
        assert torch.equal(weights[name], others[name])
        torch.testing.assert_close(weights[name], value)
    assert losses == pytest.approx(last.losses, rel=1e-5)
    with pytest.raises(
        StateError, match=r"its processes is 2, now 1 is asked; start 2 \(torchrun --nproc-per-node 2\)"
    ):
        Trainer(
            residual_supernet(), few_images(), replace(options, epochs=9, restarts=(6,)), tmp_path / "run"
        )
    assert Trainer(residual_supernet(), few_images(), options, tmp_path / "run").run()[-1].losses == losses


def within(rank: int, ranks: int, folder: Path, options: TrainOptions) -> None:
    """One of several processes; each leaves its plan and its weights, and only the first one may measure."""
    joins(rank, ranks, folder)
    if rank:
        trainer_module.planned = None  # type: ignore[assignment]
    trainer = Trainer(tiny_supernet(), coloured(), options, folder / "run")
    trainer.run()
    assert trainer.memory is not None
    found = trainer.memory.execution, trainer.lessons.execution, parameters(trainer.supernet)
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_all_processes_run_by_the_plan_of_the_first(tmp_path: Path) -> None:
    options = replace(OPTIONS, epochs=1, batch_size=16)
    alone = Trainer(tiny_supernet(), coloured(), replace(options, batch_size=8, memory="1TB"))
    alone.run()
    assert alone.memory is not None
    options = replace(options, memory=str(int(0.75 * alone.memory.peak)))
    assert together(within, 2, tmp_path, options) == [0, 0]
    (one, run, weights), other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert one == run == other[0] == other[1] != {}
    for name, value in other[2].items():
        assert torch.equal(weights[name], value)


def interrupted_once(rank: int, ranks: int, folder: Path, options: TrainOptions) -> None:
    """All of them end after the fourth step; only the first one keeps anything."""
    joins(rank, ranks, folder)

    def stop(done: int, total: int, words: str) -> None:
        if done == 4:
            os._exit(0)

    Trainer(small_supernet(), few_images(), options, folder / "run").run(stop)


def goes_on(rank: int, ranks: int, folder: Path, options: TrainOptions, run: str) -> None:
    """To the end."""
    joins(rank, ranks, folder)
    Trainer(small_supernet(), few_images(), options, folder / run).run()


def test_processes_that_ended_go_on_together_bit_for_bit(tmp_path: Path) -> None:
    options = replace(OPTIONS, amp="bf16", ema=0.9)
    assert together(interrupted_once, 2, tmp_path, options) == [0, 0]
    for name in ("run", "whole"):
        (tmp_path / "store").unlink()
        assert together(goes_on, 2, tmp_path, options, name) == [0, 0]
    whole, parts = ((tmp_path / name / CHECKPOINT).read_bytes() for name in ("whole", "run"))
    assert whole == parts


def dies(rank: int, ranks: int, folder: Path, how: str) -> None:
    """The last one ends at its third step; the others leave what they are told."""
    joins(rank, ranks, folder)

    def end(done: int, total: int, words: str) -> None:
        if rank == ranks - 1 and done == 3:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt

    try:
        Trainer(small_supernet(), few_images(), replace(OPTIONS, batch_size=12), folder / "run").run(end)
    except StateError as error:
        (folder / f"{rank}.txt").write_text(str(error))


@pytest.mark.parametrize(("ranks", "how"), [(2, "killed"), (4, "killed"), (3, "interrupted")])
def test_a_rank_that_ends_is_named_by_all_others(ranks: int, how: str, tmp_path: Path) -> None:
    together(dies, ranks, tmp_path, how)
    for rank in range(ranks - 1):
        assert (tmp_path / f"{rank}.txt").read_text().startswith(f"rank {ranks - 1} of {ranks} ended")


def differs(rank: int, ranks: int, folder: Path) -> None:
    """One is given another learning rate."""
    joins(rank, ranks, folder)
    try:
        Trainer(small_supernet(), few_images(), replace(OPTIONS, lr=0.1 + rank)).run()
    except StateError as error:
        (folder / f"{rank}.txt").write_text(str(error))
    try:
        Trainer(small_supernet(), few_images(), replace(OPTIONS, batch_size=15))
    except ConfigError as error:
        assert "a batch of 15 cannot be shared evenly by 2 x 1" in str(error)


def test_ranks_that_were_told_unlike_things_are_refused(tmp_path: Path) -> None:
    assert together(differs, 2, tmp_path) == [0, 0]
    for rank in range(2):
        assert (tmp_path / f"{rank}.txt").read_text().startswith("rank 1 was given another lr than rank 0")
