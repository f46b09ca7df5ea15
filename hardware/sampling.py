"""Which subnets to measure: the two ends of the space and an even spread between them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from supernet.encoding import Encoding
from supernet.space import Architecture, Genes, SearchSpace

Cost = Callable[[Genes], NDArray[np.int64] | NDArray[np.float64]]
"""Genes ``(architectures, choices)`` to one number each, e.g. MACs."""


def spread(space: SearchSpace, count: int, seed: int = 0, cost: Cost | None = None) -> list[Architecture]:
    """Distinct architectures, spread over the cost and unlike each other: smallest, largest, one per stratum.

    Genes drawn uniformly would almost all cost about the same: sums of many choices gather in the middle.
    So every candidate first draws how large each kind of choice (depths, widths, kernels) wants to be.
    Of the candidates that cost what a stratum asks for, the one least like those already taken is taken:
    otherwise everything would grow together, and a predictor could not tell a deep network from a wide one.

    Args:
        space: where from.
        count: how many; fewer come back when the space holds fewer.
        seed: decides which.
        cost: what to spread over; the sum of the genes when None.
    """
    rng = np.random.default_rng(seed)
    ends = np.unique(space.matrix([space.smallest(), space.largest()]), axis=0)
    pool = np.unique(space.canonical(_candidates(space, 100 * count, rng)), axis=0)
    pool = pool[~(pool[:, None] == ends[None]).all(-1).any(1)]
    price = cost or (lambda genes: genes.sum(1))
    columns = Encoding(space).ordinal(np.concatenate([ends, pool]))
    columns /= np.maximum(columns.std(0), 1e-9)
    taken = list(range(len(ends)))
    low, high = np.sort(price(ends))[[0, -1]]
    prices = np.concatenate([price(ends), price(pool)]).astype(np.float64)
    goals = low + (high - low) * (np.arange(count - 2) + rng.uniform(size=count - 2)) / max(count - 2, 1)
    for goal in rng.permutation(goals)[: len(pool)]:
        taken.append(_unlike(columns, prices, taken, goal, tolerance=(high - low) / (2 * count)))
    genes = np.concatenate([ends, pool])[taken]
    return [space.architecture(row.tolist()) for row in genes[:count]]


def _candidates(space: SearchSpace, count: int, rng: np.random.Generator) -> Genes:
    last = np.array([len(choice.values) - 1 for choice in space.choices])
    kinds = [choice.name.rpartition(".")[2] for choice in space.choices]
    kind = np.array([sorted(set(kinds)).index(name) for name in kinds])
    size = rng.uniform(size=(count, max(kind) + 1))[:, kind]
    return rng.binomial(last, size, size=(count, len(last))).astype(np.int64)


def _unlike(
    columns: NDArray[np.float64], prices: NDArray[np.float64], taken: list[int], goal: float, tolerance: float
) -> int:
    """Of the candidates that cost about the goal, or else the one that does most nearly, the loneliest."""
    off = np.abs(prices - goal)
    off[taken] = np.inf
    near = np.flatnonzero(off <= max(tolerance, off.min()))
    distance = np.linalg.norm(columns[near, None] - columns[None, taken], axis=-1).min(1)
    return int(near[distance.argmax()])
