"""Architectures of about so many multiply-adds, for strategies that spread their lessons over costs."""

from __future__ import annotations

from math import inf

import numpy as np

from supernet.space import Architecture, Genes
from supernet.strategies.strategy import Context

TOLERANCE = 0.02
"""How far from the target an architecture may be, as a share of it."""
TRIES = 3
"""Random starts before the nearest one found is taken."""


def near(context: Context, target: float) -> Architecture:
    """A random architecture of about so many multiply-adds, or the nearest one that was found.

    A random genome is moved gene by gene, in a random order, to where its cost is nearest to the target,
    until it is near enough. Drawing until one happens to fit would take hundreds of tries at both ends.

    Args:
        context: brings space, costs and chance.
        target: multiply-adds.
    """
    space, rng = context.space, context.rng
    nearest, least = space.smallest(), inf
    for _ in range(TRIES):
        genes = np.array([rng.randrange(len(choice.values)) for choice in space.choices], dtype=np.int64)
        for i in rng.sample(range(len(space)), len(space)):
            gap = _pull(context, genes, i, target)
            if gap < least:
                nearest, least = space.architecture(genes.tolist()), gap
            if least <= TOLERANCE * target:
                return nearest
    return nearest


def _pull(context: Context, genes: Genes, i: int, target: float) -> float:
    """Set one gene to where the cost is nearest to the target, in place; how far it still is."""
    values = len(context.space.choices[i].values)
    moved = np.tile(genes, (values, 1))
    moved[:, i] = np.arange(values)
    gaps = np.abs(context.macs(context.space.canonical(moved)) - target)
    if gaps.min() < gaps[genes[i]]:
        genes[i] = gaps.argmin()
    return float(gaps.min())


def in_bin(context: Context, i: int, bins: int) -> Architecture:
    """A random architecture of one of so many bins of equal width between the smallest and the largest."""
    low, high = _range(context)
    return near(context, low + (high - low) * (i + context.rng.random()) / bins)


def bin_of(context: Context, arch: Architecture, bins: int) -> int:
    """The bin that an architecture is in; one beyond the ends counts to the last one there."""
    low, high = _range(context)
    share = (int(context.macs(context.space.matrix([arch]))[0]) - low) / max(high - low, 1)
    return min(max(int(share * bins), 0), bins - 1)


def _range(context: Context) -> tuple[int, int]:
    ends = context.macs(context.space.matrix([context.space.smallest(), context.space.largest()]))
    return int(ends.min()), int(ends.max())
