"""A Bayesian linear model whose columns come in blocks, some trusted more than others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from predictors.estimate import Values

NOISES = np.logspace(-4, 1, 16)
"""Variances of the noise, over that of what the columns explain, to average over."""


class BlockLinear:
    """Linear in all columns, with a prior variance for the coefficients of each block.

    How large the variances are, and how large the noise, is averaged over: every combination on a grid is weighted by
    how likely it makes the values (its evidence). With a dozen measurements no single answer is sure, and the mean over
    all is steadier than the best of them.

    Args:
        blocks: columns of what was measured ``(measurements, columns)``; a block may be empty.
        values: what was measured ``(measurements,)``.
        noise: known standard deviation of each, on top of the noise that is found.
        grid: variances of the blocks, over that of a constant; each row has one for every block.
    """

    def __init__(
        self, blocks: Sequence[Values], values: Values, noise: Values, grid: Sequence[Sequence[float]]
    ) -> None:
        self._scales = [standard(block) for block in blocks]
        self._rows = self._scaled(blocks)
        self._grid, self._mean = grid, float(values.mean())
        self._scale = float(values.std()) or 1.0
        target, known = (values - self._mean) / self._scale, (noise / self._scale) ** 2
        self._solved = [_Solved(self._kernel(self._rows, trust), target, known) for trust in grid]
        evidence = np.concatenate([solved.evidence for solved in self._solved])
        weights = np.exp(evidence - evidence.max())
        self._weights = np.split(weights / weights.sum(), len(grid))

    def predict(self, blocks: Sequence[Values]) -> tuple[Values, Values]:
        """Mean and standard deviation of a new measurement ``(cases,)`` each."""
        rows = self._scaled(blocks)
        first, second = np.zeros(len(rows[0])), np.zeros(len(rows[0]))
        for trust, solved, weight in zip(self._grid, self._solved, self._weights):
            prior = 1.0 + sum(t * (r**2).sum(1) for t, r in zip(trust, rows))
            mean, variance = solved.predict(self._kernel(rows, trust), prior)
            first += mean @ weight
            second += (mean**2 + variance) @ weight
        return self._mean + self._scale * first, self._scale * np.sqrt(np.maximum(second - first**2, 0))

    def _scaled(self, blocks: Sequence[Values]) -> list[Values]:
        """Standardised, and divided so that every block is one column's worth."""
        return [
            (block - centre) / spread / max(block.shape[1], 1) ** 0.5
            for block, (centre, spread) in zip(blocks, self._scales)
        ]

    def _kernel(self, rows: Sequence[Values], trust: Sequence[float]) -> Values:
        """Covariance with what was measured ``(cases, measurements)``; a constant is as uncertain as a column."""
        found = np.ones((len(rows[0]), len(self._rows[0])))
        for variance, here, there in zip(trust, rows, self._rows):
            found += variance * here @ there.T
        return found


class _Solved:
    """One choice of variances, for every noise of `NOISES`; the scale of both is integrated out."""

    def __init__(self, kernel: Values, target: Values, known: Values) -> None:
        count = len(target)
        values, self._vectors = np.linalg.eigh(kernel + np.diag(known))
        seen = self._vectors.T @ target
        self._spread = np.maximum(values, 0)[:, None] + NOISES
        self._weights = seen[:, None] / self._spread
        self._scale = (seen[:, None] * self._weights).sum(0) / count + 1e-12
        self.evidence = -0.5 * count * np.log(self._scale) - 0.5 * np.log(self._spread).sum(0)

    def predict(self, cross: Values, prior: Values) -> tuple[Values, Values]:
        """Mean and variance of a new measurement ``(cases, noises)``."""
        turned = cross @ self._vectors
        left = prior[:, None] - turned**2 @ (1 / self._spread)
        return turned @ self._weights, (np.maximum(left, 0) + NOISES) * self._scale


def standard(columns: Values) -> tuple[Values, Values]:
    """Centre and spread of each column; a column that does not vary says nothing and gets an infinite spread."""
    spread = columns.std(axis=0)
    return columns.mean(axis=0), np.where(spread > 1e-9, spread, np.inf)
