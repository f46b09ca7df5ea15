"""What a training shows of itself beside losses: how fast it is, what it needs, and what a few subnets become."""

from __future__ import annotations

import logging
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from supernet.drawing import canvas, write_png
from supernet.elastic.costs import Costs
from supernet.errors import ConversionError
from supernet.seeds import rng
from supernet.space import Architecture, SearchSpace
from supernet.tasks.task import Metric

log = logging.getLogger(__name__)

FIGURE = "watched.png"
LOOKS = 5
"""How often watched subnets are looked at in a training, about: each look costs what two subnets cost every epoch."""
DRAWN = 64
"""Architectures drawn for each one that is watched."""


@dataclass(frozen=True)
class Look:
    """What the watched subnets were worth after an epoch.

    Args:
        epoch: counted from 1.
        macs: multiply-adds of each, ascending.
        values: first metric of each on the search split.
    """

    epoch: int
    macs: list[int]
    values: list[float]


def is_due(looks: Sequence[Look], epoch: int, epochs: int) -> bool:
    """Whether it is time for another look; the last epoch always is."""
    since = epoch - (looks[-1].epoch if looks else 0)
    return epoch == epochs or since >= epochs / LOOKS


def watched(space: SearchSpace, costs: Callable[[], Costs], count: int, seed: int) -> dict[Architecture, int]:
    """The smallest subnet, the largest and so many between, evenly over multiply-adds; each with its own.

    Nothing where the multiply-adds of the network are not known.
    """
    draw = rng(seed, "watched")
    pool = [space.sample(draw) for _ in range(DRAWN * count)]
    pool = list(dict.fromkeys([space.smallest(), space.largest(), *pool]))
    try:
        macs = costs().macs(space.matrix(pool)).tolist()
    except ConversionError as error:
        log.info("no subnet is watched through the training: %s", error)
        return {}
    chosen = {0, len(pool[:2]) - 1}
    for goal in np.linspace(macs[0], macs[len(pool[:2]) - 1], count + 2)[1:-1]:
        left = [i for i in range(len(pool)) if i not in chosen]
        chosen |= {min(left, key=lambda i: abs(macs[i] - goal))} if left else set()
    return {pool[i]: macs[i] for i in sorted(chosen, key=macs.__getitem__)}


def draw_watched(looks: Sequence[Look], metric: Metric, path: Path) -> Path:
    """Draw what the watched subnets were worth against their multiply-adds, a line for each look.

    Raises:
        StateError: when the place cannot be written to.
    """
    unit = f" ({metric.unit})" if metric.unit else ""
    figure, axes = canvas(
        f"{metric.name} of {len(looks[-1].macs)} subnets through the training".capitalize(),
        "search split, each subnet with statistics of its own",
        "million multiply-adds",
        f"{metric.name}{unit}",
    )
    for i, look in enumerate(looks):
        shade = 0.25 + 0.75 * (i + 1) / len(looks)
        axes.plot(
            np.array(look.macs) / 1e6, look.values, marker="o", color="#1d4ed8", alpha=shade, markersize=4,
            linewidth=1 + shade, label=f"after epoch {look.epoch}",
        )  # fmt: skip
    return write_png(figure, path)


def memory_mib(device: torch.device) -> float:
    """The most memory that was in use so far: of a GPU what PyTorch took of it, else that of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def gradient_norm(network: nn.Module) -> float:
    """Of all gradients together."""
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
