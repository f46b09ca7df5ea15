"""What of a pretrained network is worth making elastic: decided by cutting it, before it is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

from supernet.build import build
from supernet.elastic.supernet import Supernet
from supernet.evaluate import Evaluator
from supernet.heads import take_statistics, warm_head
from supernet.options import SupernetOptions, TrainOptions
from supernet.ordering import order_units
from supernet.presets import presets
from supernet.recipe import device_of
from supernet.sensitivity import Cut, Told, sensitivity, worthwhile
from supernet.tasks.task import Dataset

EXAMPLES = 500
"""Of the search split that each cut is judged on."""


@dataclass(frozen=True)
class Offer:
    """Which kinds of cuts a supernet offers, and why.

    Args:
        dims: as ``supernet.options.dims`` takes them, the cheapest first.
        cuts: see `supernet.sensitivity.sensitivity`; every kind cut alone.
    """

    dims: tuple[str, ...]
    cuts: tuple[Cut, ...]

    def applied(self, options: SupernetOptions) -> SupernetOptions:
        """The options of the supernet that offers these."""
        return replace(options, options={**options.options, "dims": list(self.dims)})


def is_undecided(options: SupernetOptions) -> bool:
    """Whether a study is to decide: for a pretrained network of which nobody said what is elastic."""
    said = "dims" in options.options or options.offer == "all"
    return options.is_pretrained and not said and options.model not in presets


def offer(
    options: SupernetOptions,
    dataset: Dataset,
    train: TrainOptions,
    told: Told = lambda done, total: None,
) -> Offer:
    """Cut every kind of thing to each of its sizes, and keep the kinds that cost little for what they save.

    Args:
        options: of a supernet in which everything is elastic that can be.
        dataset: cut networks are judged on its search split.
        train: the training that is to follow.
        told: how far the study is.

    Raises:
        SpaceError: when nothing is elastic.
        SupernetError: see `supernet.build.build`.
    """
    net, _ = acquaintance(options, dataset, train)
    evaluator = Evaluator(
        net, dataset, examples=EXAMPLES, calibration_examples=train.calibration_examples, seed=train.seed
    )
    cuts = sensitivity(evaluator, told, each=False)
    return Offer(tuple(worthwhile(cuts)), tuple(cuts))


def acquaintance(
    options: SupernetOptions, dataset: Dataset, train: TrainOptions
) -> tuple[Supernet, list[str]]:
    """A supernet as its training would begin, but for statistics and a head that know the data, to be judged.

    Returns:
        The supernet in evaluation mode, and in words what was done to it.
    """
    net = build(options, dataset.task, seed=train.seed).to(device_of(train))
    done = order_units(net, dataset, train)
    take_statistics(net, dataset, train)
    words = [f"units sorted by {done['by']}"] if done else []
    if warm_head(net, dataset, train):
        words.append("its new head trained alone for a moment")
    return net.eval(), words
