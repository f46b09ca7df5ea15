"""The first step of a run: train its supernet."""

from __future__ import annotations

from functools import partial

import torch

from supernet.build import build
from supernet.ranks import launched
from supernet.tasks.task import Dataset
from supernet.trainer import Trainer
from zoo.pipeline.offered import offered
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.run import Run
from zoo.pipeline.workspace import read


def train(run: Run, progress: Progress = silent, dataset: Dataset | None = None) -> Trainer:
    """Train the run's supernet, or load it when that is done; with the other processes that torchrun started.

    Args:
        dataset: that of the run, where it was read already.

    Returns:
        The trainer, with the supernet in evaluation mode and the history.

    Raises:
        ConfigError: see `read`.
        DataError: when the data are missing or damaged.
        StateError: when the folder holds the checkpoint of another training, or another process ended.
    """
    torch.set_num_threads(run.options.train.threads)
    dataset = dataset or read(run, progress)
    net = build(offered(run, dataset, progress), dataset.task, seed=run.options.train.seed)
    with launched(run.options.train.device):
        trainer = Trainer(net, dataset, run.options.train, run.training)
        if trainer.ranks.leads:
            run.keep()
        trainer.run(partial(progress, "training"))
        progress("training", trainer.steps, trainer.steps)
        if trainer.ranks.leads:
            net.save(run.supernet)
    return trainer
