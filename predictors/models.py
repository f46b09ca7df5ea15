"""The models a tabular predictor chooses among; each learns the logarithm of a positive number.

Below about twenty measurements a line in the logarithm of the MACs beats every learned model on the
published tables; from there on the mean of a Gaussian process, a ridge and a forest is as good as any
one of them and steadier. All of them learn what the line leaves over, so with little to go by they
fall back to it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
from sklearn.linear_model import RidgeCV

Values = NDArray[np.float64]

SIMPLE_FIRST = ("line", "ridge", "process", "ensemble")
"""The candidates, those with the least to learn first."""

ENOUGH_FOR_A_FOREST = 18
"""With fewer measurements its steps only add noise."""


@dataclass(frozen=True)
class Table:
    """What a model sees of some architectures.

    Args:
        line: the one column of the line, e.g. log MACs, ``(architectures,)``.
        columns: everything known ``(architectures, features)``.
    """

    line: Values
    columns: Values

    def rows(self, which: NDArray[np.int64]) -> Table:
        """Some of the architectures."""
        return Table(self.line[which], self.columns[which])


class Models:
    """All candidates, learned from the same measurements.

    Args:
        table: the architectures measured.
        logs: logarithms of what was measured ``(architectures,)``.
        seed: of the forest.
        like: models of more measurements, whose kernel is taken over: searching for one takes far longer
            than the rest of the work.
    """

    def __init__(self, table: Table, logs: Values, seed: int, like: Models | None = None) -> None:
        # Standardised by these rows alone: centred together with rows that are left out for a test, those
        # would be the negative sum of the others, and a linear model all too sure of them.
        spread = table.columns.std(0)
        self._centre, self._scale = table.columns.mean(0), np.where(spread > 1e-12, spread, 1.0)
        columns = self._standard(table)
        # A slope of zero is where the line starts from: three points must not make it a cliff.
        ahead = table.line - table.line.mean()
        self._slope = float(ahead @ logs / (ahead @ ahead + 1e-9))
        self._offset = float(logs.mean() - self._slope * table.line.mean())
        rest = logs - self._line(table)
        self._ridge = RidgeCV(alphas=np.logspace(-2, 4, 13)).fit(columns, rest)
        if like is None:
            self._process = _process(columns.shape[1], float(rest.var()))
        else:
            self._process = GaussianProcessRegressor(like._process.kernel_, alpha=1e-10, optimizer=None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._process.fit(columns, rest)
        self._forest = None
        if len(logs) >= ENOUGH_FOR_A_FOREST:
            self._forest = RandomForestRegressor(n_estimators=100, random_state=seed)
            self._forest.fit(columns, rest)

    def predict(self, table: Table) -> tuple[dict[str, Values], Values]:
        """The logarithm by every candidate, and how unsure the process is ``(architectures,)``."""
        line, columns = self._line(table), self._standard(table)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rounding below zero in the variance of a measured point
            process, unsure = self._process.predict(columns, return_std=True)
        ridge = self._ridge.predict(columns)
        votes = [process, ridge]
        if self._forest is not None:
            votes.append(self._forest.predict(columns))
        found = {
            "line": line,
            "ridge": line + ridge,
            "process": line + process,
            "ensemble": line + np.mean(votes, axis=0),
        }
        return found, unsure

    def _standard(self, table: Table) -> Values:
        standard: Values = (table.columns - self._centre) / self._scale
        return standard

    def _line(self, table: Table) -> Values:
        return self._offset + self._slope * table.line


def _process(features: int, variance: float) -> GaussianProcessRegressor:
    """A linear and a smooth part: latency is nearly additive, and the rest varies slowly."""
    scale = max(variance, 1e-8)
    smooth = ConstantKernel(scale / 2, (scale * 1e-3, scale * 1e3)) * RBF(
        features**0.5, (0.3, 1e3 * features**0.5)
    )
    linear = ConstantKernel(scale / 2 / features, (scale * 1e-6, scale * 1e2)) * DotProduct(0, "fixed")
    noise = WhiteKernel(scale / 10, (scale * 1e-5 + 1e-9, scale * 2 + 1e-8))
    return GaussianProcessRegressor(smooth + linear + noise, alpha=1e-10, normalize_y=False)
