"""Weights and choices at once: a differentiable search in the place of a training."""

from __future__ import annotations

from functools import partial

import torch

from supernet.build import build
from supernet.differentiable import DifferentiableOptions, DifferentiableTrainer
from supernet.elastic.storage import WEIGHTS
from supernet.errors import StateError
from supernet.tasks.task import Dataset
from zoo.pipeline.offered import offered
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.run import Run
from zoo.pipeline.workspace import read


def differentiate(
    run: Run, search: DifferentiableOptions, progress: Progress = silent, dataset: Dataset | None = None
) -> DifferentiableTrainer:
    """Search the run's space by gradients, or go on where that stopped; its supernet is what was learnt on the way.

    Args:
        run: whose ``train`` options are the recipe of the weights.
        search: how the logits learn.
        progress: told after every step.
        dataset: that of the run, where it was read already.

    Returns:
        The search at its end; its ``architecture`` is what was found.

    Raises:
        ConfigError: see `read` and `DifferentiableTrainer`.
        DataError: when the data are missing or damaged.
        StateError: when the folder holds a supernet that was trained otherwise, or another search.
    """
    folder = run.training / "differentiable"
    if (run.supernet / WEIGHTS).exists() and not folder.exists():
        raise StateError(
            f"{run.folder} holds a supernet that `supernet train` made; a differentiable search trains its own, so "
            "give it a folder of its own with --run"
        )
    torch.set_num_threads(run.options.train.threads)
    dataset = dataset or read(run, progress)
    net = build(offered(run, dataset, progress), dataset.task, seed=run.options.train.seed)
    trainer = DifferentiableTrainer(net, dataset, run.options.train, search, folder)
    run.keep()
    trainer.run(partial(progress, "searching"))
    progress("searching", trainer.steps, trainer.steps)
    net.save(run.supernet)
    return trainer
