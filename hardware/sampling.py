"""Which subnets to measure: an even spread between both ends of the space, or what tells a linear model most."""

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


def various(space: SearchSpace, count: int, seed: int = 0) -> Genes:
    """Distinct genes of all sizes ``(architectures, choices)``, both ends first; what `spread` chooses among."""
    drawn = space.canonical(_candidates(space, 4 * count, np.random.default_rng(seed)))
    genes = np.concatenate([space.matrix([space.smallest(), space.largest()]), drawn])
    _, first = np.unique(genes, axis=0, return_index=True)
    return genes[np.sort(first)][:count]


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


def d_optimal(columns: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """The rows to measure that leave a linear model of these columns least to guess: indices ``(count,)``.

    One after the other, the row that a Bayesian linear model of the rows taken so far is most unsure of. Columns are
    turned to their principal axes first; an axis along which rows hardly differ is trusted less, as it is mostly
    noise. With the predicted latencies of other devices as columns, ten measurements chosen like this spread three
    times less over seeds than ten drawn at random.

    Args:
        columns: what is known of each candidate ``(candidates, columns)``.
        count: how many to take; all of them when there are fewer.
    """
    spread = columns.std(axis=0)
    standard = (columns - columns.mean(axis=0)) / np.where(spread > 1e-9, spread, np.inf)
    turned, sizes, _ = np.linalg.svd(standard, full_matrices=False)
    trust = np.minimum(1.0, _TRUST * sizes / max(sizes[0], 1e-9))
    rows = np.hstack([np.ones((len(columns), 1)), turned * len(columns) ** 0.5 * trust])
    left = 10.0 * np.eye(rows.shape[1])
    taken: list[int] = []
    for _ in range(min(count, len(columns))):
        unsure = np.einsum("ij,jk,ik->i", rows, left, rows)
        unsure[taken] = -1
        taken.append(int(unsure.argmax()))
        learned = left @ rows[taken[-1]]
        left -= np.outer(learned, learned) / (1 + rows[taken[-1]] @ learned)
    return np.array(taken, dtype=np.int64)


_TRUST = 3.0
"""An axis counts in full from a third of the size of the largest."""
