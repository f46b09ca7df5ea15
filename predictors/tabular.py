"""Predict a latency (or another positive number) from tens of measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from predictors.estimate import Cost, Estimate, PredictorError, Values, predictors
from predictors.intervals import width_factor
from predictors.models import SIMPLE_FIRST, Models, Table
from supernet.encoding import Encoding
from supernet.space import Genes, SearchSpace


@predictors.register("tabular")
class Tabular:
    """Learns logarithms; which model is used, and how wide its intervals are, cross-validation decides.

    A more complex model is taken only when it is better than a simpler one by more than its error's
    standard error. Intervals are those of a Gaussian process, widened until they cover the measurements
    that were left out.

    Args:
        space: of the architectures.
        macs: exact multiply-adds; their logarithm is the line that everything else is built on.
        params: exact parameters; their logarithm becomes a column.
        unit: of what is measured.
        level: share of measurements that an interval should cover.
        folds: of the cross-validation that chooses the model and widens the intervals.
        seed: of the folds and the forest.

    Attributes:
        chosen: the model that is used; one of `predictors.models.SIMPLE_FIRST`.
        errors: mean absolute error of every model's logarithm on what it had not seen.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        macs: Cost | None = None,
        params: Cost | None = None,
        unit: str = "ms",
        level: float = 0.9,
        folds: int = 10,
        seed: int = 0,
    ) -> None:
        if not 0 < level < 1 or folds < 2:
            raise PredictorError(
                f"level {level} and {folds} folds: a level lies between 0 and 1, folds are 2 or more"
            )
        self.space, self.unit, self.level, self.folds, self.seed = space, unit, level, folds, seed
        self._costs = {name: cost for name, cost in (("macs", macs), ("params", params)) if cost is not None}
        self.chosen, self.errors = "", dict[str, float]()
        self._encoding = Encoding(space)
        self._models: Models | None = None
        self._measured: tuple[Genes, Values] | None = None

    def fit(self, genes: Genes, measured: Values) -> None:
        """Learn from measured architectures.

        Args:
            genes: ``(architectures, choices)``.
            measured: positive numbers ``(architectures,)``.

        Raises:
            PredictorError: for fewer than four architectures, or a measurement that is not positive.
        """
        genes, measured = self.space.canonical(np.asarray(genes)), np.asarray(measured, dtype=np.float64)
        if len(genes) < 4 or len(genes) != len(measured):
            raise PredictorError(
                f"{len(genes)} architectures with {len(measured)} measurements are too few to learn from; "
                f"measure at least 4"
            )
        if not (np.isfinite(measured) & (measured > 0)).all():
            raise PredictorError(
                f"a measurement of {measured.min()} {self.unit} is not positive; measure again"
            )
        table, logs = self._table(genes), np.log(measured)
        self._models = Models(table, logs, self.seed)
        residuals, unsure = self._left_out(table, logs)
        self.errors = {name: float(np.abs(residuals[name]).mean()) for name in SIMPLE_FIRST}
        self.chosen = _simplest(residuals)
        self._factor = width_factor(residuals[self.chosen], unsure + self._least, self.level)
        self._measured = genes, measured

    def predict(self, genes: Genes) -> Estimate:
        """One estimate for each architecture.

        Raises:
            PredictorError: before `fit`.
        """
        if self._models is None:
            raise PredictorError("nothing was learned yet; call fit(genes, measured) first")
        found, unsure = self._models.predict(self._table(self.space.canonical(np.asarray(genes))))
        mean, reach = found[self.chosen], self._factor * (unsure + self._least)
        low, high = np.exp(mean - reach), np.exp(mean + reach)
        return Estimate(np.exp(mean), low, high, self.unit, self.level)

    @property
    def options(self) -> dict[str, Any]:
        """The keywords that make an equal predictor, apart from the costs."""
        return {"unit": self.unit, "level": self.level, "folds": self.folds, "seed": self.seed}

    @property
    def learned_from(self) -> tuple[Genes, Values]:
        """Genes and measurements of the last `fit`.

        Raises:
            PredictorError: before `fit`.
        """
        if self._measured is None:
            raise PredictorError("nothing was learned yet; call fit(genes, measured) first")
        return self._measured

    def _table(self, genes: Genes) -> Table:
        logs = {name: np.log(np.asarray(cost(genes), dtype=np.float64)) for name, cost in self._costs.items()}
        columns = self._encoding.ordinal(genes, logs)
        line = next(iter(logs.values())) if logs else columns.mean(1)
        return Table(line, columns)

    @property
    def _least(self) -> float:
        """Nothing is surer than the usual error: a process may call its noise none at all."""
        return self.errors[self.chosen] + 1e-9

    def _left_out(self, table: Table, logs: Values) -> tuple[dict[str, Values], Values]:
        """For every measurement, by models that have not seen it: how far off each was, how unsure."""
        residuals, unsure = {name: np.zeros(len(logs)) for name in SIMPLE_FIRST}, np.zeros(len(logs))
        order = np.random.default_rng(self.seed).permutation(len(logs))
        for fold in np.array_split(order, min(self.folds, len(logs))):
            rest = np.setdiff1d(order, fold)
            models = Models(table.rows(rest), logs[rest], self.seed, like=self._models)
            found, unsure[fold] = models.predict(table.rows(fold))
            for name in SIMPLE_FIRST:
                residuals[name][fold] = logs[fold] - found[name]
        return residuals, unsure


def _simplest(residuals: Mapping[str, Values]) -> str:
    """The simplest model whose error no other beats by more than chance would, and by a thousandth."""
    errors = {name: np.abs(values) for name, values in residuals.items()}
    for i, name in enumerate(SIMPLE_FIRST):
        gains = [errors[name] - errors[other] for other in SIMPLE_FIRST[i + 1 :]]
        if all(gain.mean() <= max(gain.std() / np.sqrt(len(gain)), 1e-3) for gain in gains):
            return name
    return SIMPLE_FIRST[-1]
