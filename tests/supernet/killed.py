"""A process whose children train and are killed: ``python -m tests.supernet.killed STRATEGY EPOCHS S KILLS FOLDER``.

``S`` is seconds between checkpoints. ``KILLS`` are commas between ``HOW:AFTER``: killed at the so-manieth ``step``
(once it is told), ``lesson`` (while it learns) or ``sync`` (while it writes a checkpoint), counted from where that
child went on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch

from supernet.data import ImageDataset
from supernet.options import DataOptions, TrainOptions
from supernet.sources import load_data
from supernet.trainer import Trainer
from tests.tiny import tiny_supernet

OPTIONS = TrainOptions(batch_size=8, lr=0.02, evaluate_examples=8, calibration_examples=8)


def main() -> None:
    """Train once undisturbed, and once killed as often as asked."""
    strategy, epochs, seconds, kills, folder = sys.argv[1:]
    data = load_data(DataOptions(resolution=32, channels=3))
    assert isinstance(data, ImageDataset)
    few = replace(data, train=data.train.take(torch.arange(40)))
    options = replace(OPTIONS, strategy=strategy, epochs=int(epochs), checkpoint_seconds=float(seconds))
    for name, how in (("whole", ""), *(("parts", kill) for kill in kills.split(",")), ("parts", "")):
        child = get_context("spawn").Process(target=train, args=(few, options, Path(folder) / name, how))
        child.start()
        child.join()
        print(name, how, -(child.exitcode or 0), flush=True)


def train(data: ImageDataset, options: TrainOptions, folder: Path, how: str) -> None:
    """Go on with the training in a folder, and be killed on the way."""
    torch.set_num_threads(1)
    trainer = Trainer(tiny_supernet(), data, options, folder)
    kind, _, after = how.partition(":")
    strike = _strike(int(after or 0))
    if kind == "lesson":
        trainer.supernet.largest.register_forward_pre_hook(lambda *_: strike())
    if kind == "sync":
        os.fsync = _before(strike, os.fsync)
    trainer.run((lambda *_: strike()) if kind == "step" else None)


def _strike(after: int) -> Callable[[], None]:
    left = after

    def strike() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return strike


def _before(strike: Callable[[], None], call: Callable[[int], None]) -> Callable[[int], None]:
    def struck(descriptor: int) -> None:
        strike()
        call(descriptor)

    return struck


if __name__ == "__main__":
    main()
