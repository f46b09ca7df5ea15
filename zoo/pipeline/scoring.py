"""Zero-cost scores of a run's networks, and how well each ranks those that a search has evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau

from hardware.sampling import spread
from predictors.options import FOLDS
from predictors.zero_cost import Combination, scores, zero_cost
from predictors.zero_cost.candidate import ScoreError
from search.archive import Evaluation
from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError, StateError
from supernet.seeds import rng
from supernet.space import Architecture
from supernet.tasks.task import Batch
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.searching import evaluations
from zoo.pipeline.workspace import Workspace

TOGETHER = "together"
"""What the learned combination of all scores is called."""
ENOUGH = 4 * FOLDS
"""Evaluated networks from which a combination is learned and judged."""


@dataclass(frozen=True)
class Scored:
    """Scores of some networks.

    Args:
        archs: the networks.
        values: score to its value for each of them.
        refused: score to the reason why it says nothing here.
        quality: how good each is, in the unit of the search; none where the search did not evaluate them.
        tau: Kendall's rank correlation of each score with that, more for better; of the combination, as it is predicted
            for networks it has not seen.
    """

    archs: Sequence[Architecture]
    values: Mapping[str, list[float]]
    refused: Mapping[str, str]
    quality: Sequence[float]
    tau: Mapping[str, float]


def score_networks(
    workspace: Workspace,
    names: Sequence[str] = (),
    *,
    count: int = 24,
    examples: int = 32,
    fresh: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Scored:
    """Score networks that the search has evaluated, or others of all sizes where there are too few of them.

    Args:
        names: of scores; all that are registered when empty.
        count: how many networks.
        examples: of the training split, in one batch.
        fresh: with weights drawn anew, as a score is published, instead of the trained ones.
        seed: decides which networks, examples and weights.

    Raises:
        ConfigError: for fewer than two networks or examples.
        SupernetError: when there is no score of a name.
    """
    if count < 2 or examples < 2:
        raise ConfigError(
            f"{count} networks and {examples} examples were asked for; a score ranks two or more"
        )
    asked = list(names) or list(scores)
    for name in asked:
        scores[name]
    archs, quality = _networks(workspace, count, seed)
    net = drawn_anew(workspace.net, seed) if fresh else workspace.net
    batch = workspace.dataset.calibration_batches(examples, examples, seed)[0]
    values, refused = dict[str, list[float]](), dict[str, str]()
    for done, name in enumerate(asked):
        progress("scoring", done, len(asked))
        try:
            values[name] = [_one(workspace, net, name, arch, batch, seed) for arch in archs]
        except ScoreError as error:
            refused[name] = str(error)
    progress("scoring", len(asked), len(asked))
    return Scored(archs, values, refused, quality, _taus(workspace, values, quality))


def drawn_anew(net: Supernet, seed: int) -> Supernet:
    """A copy with weights as its layers draw them; what a layer does not know to draw stays as it is."""
    other = net.following(net.plan)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in other.largest.modules():
            draw = getattr(module, "reset_parameters", None)
            if callable(draw):
                draw()
    return other


def _networks(workspace: Workspace, count: int, seed: int) -> tuple[list[Architecture], list[float]]:
    """Some that were evaluated, with how good they are; else an even spread, of which nothing is known."""
    known: Sequence[Evaluation] = []
    with suppress(StateError):  # no search yet
        known = evaluations(workspace, [])
    if len(known) < count:
        return spread(workspace.net.space, count, seed, workspace.costs.macs), []
    some = rng(seed, "scored networks").sample(known, count)
    return [each.arch for each in some], [each.values[workspace.quality.name] for each in some]


def _one(
    workspace: Workspace, net: Supernet, name: str, arch: Architecture, batch: Batch, seed: int
) -> float:
    return zero_cost(name, net.subnet(arch), batch, workspace.dataset.task, seed=seed)


def _taus(
    workspace: Workspace, values: Mapping[str, list[float]], quality: Sequence[float]
) -> dict[str, float]:
    if not quality or not values:
        return {}
    better = np.array(quality) * (-1 if workspace.quality.sense == "min" else 1)
    found = {name: _tau(np.array(column), better) for name, column in values.items()}
    if len(quality) >= ENOUGH:
        found[TOGETHER] = _tau(_left_out(np.array(list(values.values())).T, better), better)
    return found


def _left_out(table: NDArray[np.float64], better: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every network as a combination ranks it that was learned without it."""
    found, order = np.zeros(len(better)), np.random.default_rng(0).permutation(len(better))
    for fold in np.array_split(order, FOLDS):
        rest = np.setdiff1d(order, fold)
        found[fold] = Combination().fit(table[rest], better[rest]).predict(table[fold])
    return found


def _tau(column: NDArray[np.float64], better: NDArray[np.float64]) -> float:
    return float(kendalltau(column, better).statistic)
