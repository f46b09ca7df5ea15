"""The models a tabular predictor weighs against each other; each learns the logarithm of a positive number.

Below about twenty measurements a line in the logarithm of the MACs beats most learned models on the published tables;
where other devices were measured before, their latencies are better columns than anything known of the network. Every
model here knows how unsure it is, and which of them to believe is decided by measurements they have not seen
(`predictors.tabular`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from predictors.columns import Table
from predictors.estimate import Values
from predictors.gaussian_process import Covariance, GaussianProcess
from predictors.linear import BlockLinear

ENOUGH_FOR_TREES = 100
"""With fewer measurements their steps only add noise."""
ENOUGH_BESIDE_REFERENCES = 100
"""With fewer measurements of a device, nothing adds to what other devices tell of it."""
ENOUGH_FOR_COVARIANCE = 300
"""Measurements from which a covariance is learned, or twice as many as there are columns; more only take longer."""


class Model(Protocol):
    """What was learned from some measurements."""

    def predict(self, table: Table) -> tuple[Values, Values]:
        """The most probable logarithm, and how far the truth may be off ``(architectures,)`` each."""
        ...


class Line:
    """A straight line over the first cost: nothing is more honest with a handful of measurements."""

    def __init__(self, table: Table, logs: Values, noise: Values, like: Line | None = None) -> None:
        ahead = table.costs[:, 0] - table.costs[:, 0].mean()
        # A slope of zero is where the line starts from: three points must not make it a cliff.
        self._slope = float(ahead @ logs / (ahead @ ahead + 1e-9))
        self._offset = float(logs.mean() - self._slope * table.costs[:, 0].mean())
        off = logs - self._at(table)
        self._sd = float(np.sqrt((off**2).sum() / max(len(off) - 2, 1)))

    def predict(self, table: Table) -> tuple[Values, Values]:
        """As unsure everywhere as the measurements scatter about it."""
        return self._at(table), np.full(len(table), self._sd)

    def _at(self, table: Table) -> Values:
        return self._offset + self._slope * table.costs[:, 0]


class Linear:
    """A Bayesian linear model; what is known of other devices is trusted most, single features least."""

    def __init__(self, table: Table, logs: Values, noise: Values, like: Linear | None = None) -> None:
        trusts = WITH_REFERENCES if table.elsewhere.shape[1] else ALONE
        there = [block.shape[1] > 0 for block in table.blocks]
        grid = tuple(dict.fromkeys(tuple(t * some for t, some in zip(trust, there)) for trust in trusts))
        self._model = BlockLinear(table.blocks, logs, noise, grid)

    def predict(self, table: Table) -> tuple[Values, Values]:
        """By the mean over all trusts, weighted by how likely they make what was measured."""
        return self._model.predict(table.blocks)


WITH_REFERENCES = ((1.0, 0.0, 0.0, 0.0), (1.0, 0.1, 0.0, 0.0), (1.0, 0.3, 0.0, 0.0), (1.0, 0.1, 0.0, 0.02))
ALONE = tuple(
    (0.0, 1.0, depths, features) for depths in (0.0, 0.1, 0.3, 1.0) for features in (0.0, 0.03, 0.1, 0.3)
)
"""Variances of the other devices', the costs', the depths' and the features' share, to average over."""


class Process:
    """A Gaussian process for what the line leaves over; where other devices are known, for everything."""

    _process: GaussianProcess

    def __init__(self, table: Table, logs: Values, noise: Values, like: Process | None = None) -> None:
        self._line = None if table.elsewhere.shape[1] else Line(table, logs, noise)
        rest = logs - self._base(table)
        columns = table.everything
        start = like._process.covariance if like else None
        self._process = learned_process(columns, rest, noise, start)

    def predict(self, table: Table) -> tuple[Values, Values]:
        """The sum of both."""
        mean, sd = self._process.predict_with_sd(table.everything)
        return self._base(table) + mean, np.hypot(sd, self._process.noise_sd)

    def _base(self, table: Table) -> Values:
        return np.zeros(len(table)) if self._line is None else self._line.predict(table)[0]


def learned_process(
    columns: Values,
    values: Values,
    noise: Values | None = None,
    start: Covariance | None = None,
    *,
    trust: Values | None = None,
) -> GaussianProcess:
    """A process of all measurements, with a covariance that is given, or learned from as many as are enough for it."""
    enough = max(ENOUGH_FOR_COVARIANCE, 2 * columns.shape[1])
    if start is None and len(values) > enough:
        some = np.random.default_rng(0).permutation(len(values))[:enough]
        known = None if noise is None else noise[some]
        start = GaussianProcess(columns[some], values[some], noise_sd=known, trust=trust).covariance
    steps = 30 if start is None else 0
    return GaussianProcess(columns, values, noise_sd=noise, trust=trust, start=start, steps=steps)


class Trees:
    """Boosted trees for what a linear model leaves over: steps, such as a width that no longer fits a register."""

    def __init__(self, table: Table, logs: Values, noise: Values, like: Trees | None = None) -> None:
        self._line = Line(table, logs, noise)
        self._trees = HistGradientBoostingRegressor(
            max_iter=120, learning_rate=0.1, min_samples_leaf=5, max_leaf_nodes=15, random_state=0
        )
        rest = logs - self._line.predict(table)[0]
        with threadpool_limits(1):  # so few rows are not worth waiting for other threads
            self._trees.fit(table.everything, rest)
        self._sd = float(rest.std())

    def predict(self, table: Table) -> tuple[Values, Values]:
        """Trees do not say how unsure they are: equally, everywhere."""
        mean = self._line.predict(table)[0] + self._trees.predict(table.everything)
        return mean, np.full(len(table), self._sd)


MODELS: dict[str, Callable[..., Model]] = {
    "line": Line, "linear": Linear, "process": Process, "trees": Trees
}  # fmt: skip
"""Each is made from a table, the logarithms measured, the noise of each, and the same model of more measurements."""


def candidates(table: Table) -> list[str]:
    """The names of the models that so many measurements are enough for."""
    count, referenced = len(table), table.elsewhere.shape[1] > 0
    if referenced and count < ENOUGH_BESIDE_REFERENCES:
        return ["linear"]
    return [name for name in MODELS if name != "trees" or count >= ENOUGH_FOR_TREES]
