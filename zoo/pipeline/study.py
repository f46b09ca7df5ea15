"""Which cuts of a run's network are cheap and which are dear, before it is trained or after."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from supernet.elastic.storage import WEIGHTS
from supernet.elastic.supernet import Supernet
from supernet.evaluate import Evaluator
from supernet.offering import acquaintance
from supernet.sensitivity import Cut, prices, sensitivity, worthwhile
from supernet.tasks.task import Dataset
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.run import Run
from zoo.pipeline.workspace import read


@dataclass(frozen=True)
class Study:
    """What cutting a network costs.

    Args:
        cuts: see `supernet.sensitivity.sensitivity`.
        of: which network, in words.
        dims: the kinds of cuts, the cheapest for what it saves first.
        worthwhile: those of them that a pretrained network offers, unless told otherwise.
    """

    cuts: list[Cut]
    of: str
    dims: list[str]
    worthwhile: list[str]


def study(run: Run, progress: Progress = silent, dataset: Dataset | None = None) -> Study:
    """Cut one kind of thing at a time; the run and its supernet stay as they are.

    Args:
        dataset: that of the run, where it was read already.

    Raises:
        ConfigError: see `read`.
        DataError: when the data are missing or damaged.
        SpaceError: when nothing is elastic.
    """
    torch.set_num_threads(run.options.train.threads)
    dataset = dataset or read(run, progress)
    net, of = _network(run, dataset)
    evaluator = Evaluator(
        net,
        dataset,
        examples=run.options.train.evaluate_examples,
        calibration_examples=run.options.train.calibration_examples,
    )
    cuts = sensitivity(evaluator, lambda done, total: progress("cutting", done, total, ""))
    return Study(cuts, of, list(prices(cuts)), worthwhile(cuts))


def _network(run: Run, dataset: Dataset) -> tuple[Supernet, str]:
    """The trained supernet, or one as its training would begin, with a head that knows something."""
    if (run.supernet / WEIGHTS).exists():
        return Supernet.load(run.supernet), "the trained supernet"
    net, done = acquaintance(run.options.supernet, dataset, run.options.train)
    return net, ", ".join(["the network before its training", *done])
