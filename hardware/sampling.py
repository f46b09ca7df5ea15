"""Which subnets to measure: the two ends of the space and an even spread between them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from supernet.space import Architecture, Genes, SearchSpace

Cost = Callable[[Genes], NDArray[np.float64]]
"""Genes ``(architectures, choices)`` to one number each, e.g. MACs."""


def spread(space: SearchSpace, count: int, seed: int = 0, cost: Cost | None = None) -> list[Architecture]:
    """Distinct architectures, spread evenly over the cost: the smallest, the largest, one from each stratum.

    Genes drawn uniformly would almost all cost about the same: sums of many choices gather in the middle.
    So every candidate first draws how large it wants to be, then its genes around that.

    Args:
        space: where from.
        count: how many; fewer come back when the space holds fewer.
        seed: decides which.
        cost: what to spread over; the sum of the relative genes when None.
    """
    rng = np.random.default_rng(seed)
    ends = space.matrix([space.smallest(), space.largest()])
    pool = np.unique(space.canonical(_tilted(space, 100 * count, rng)), axis=0)
    pool = pool[~(pool[:, None] == ends[None]).all(-1).any(1)]
    genes = np.concatenate(
        [np.unique(ends, axis=0), pool[_one_per_stratum(pool, ends, count - 2, rng, cost)]]
    )
    return [space.architecture(row.tolist()) for row in genes[:count]]


def _tilted(space: SearchSpace, count: int, rng: np.random.Generator) -> Genes:
    last = np.array([len(choice.values) - 1 for choice in space.choices])
    return rng.binomial(last, rng.uniform(size=(count, 1)), size=(count, len(last))).astype(np.int64)


def _one_per_stratum(
    pool: Genes, ends: Genes, count: int, rng: np.random.Generator, cost: Cost | None
) -> list[int]:
    """Rows of the pool, the nearest to a random cost within each of ``count`` equal strata."""
    price = cost or (lambda genes: genes.sum(1) / max(ends.max(), 1))
    prices, (low, high) = price(pool), np.sort(price(ends))
    taken: list[int] = []
    for i in range(min(count, len(pool))):
        goal = low + (high - low) * (i + rng.uniform()) / count
        distance = np.abs(prices - goal)
        distance[taken] = np.inf
        nearest = np.flatnonzero(distance == distance.min())
        taken.append(int(rng.choice(nearest)))
    return taken
