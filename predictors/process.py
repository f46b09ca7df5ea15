"""Predict an accuracy, or any other number, by one Gaussian process: half a second from five hundred measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from predictors.columns import Columns, Describe
from predictors.estimate import (
    Archs,
    Cost,
    Estimate,
    Learner,
    Measured,
    Predictor,
    Values,
    genes_of,
    measured,
    predictors,
)
from predictors.intervals import Calibration
from predictors.models import learned_process
from supernet.space import SearchSpace


@predictors.register("process")
class Process(Learner):
    """A Gaussian process on the columns of an architecture and the logarithms of its exact costs.

    Intervals are the process's own, widened or narrowed until they cover every measurement as predicted by all the
    others, which a Gaussian process tells without learning again.

    Args:
        space: of the architectures.
        macs: exact multiply-adds, where they are known.
        params: exact parameters, where they are known.
        features: columns that describe an architecture, where `Encoding.ordinal` is not enough.
        references: predictors of other devices, by name; what they say becomes a column.
        unit: of what is measured.
        level: share of measurements that an interval should cover.
        positive: whether it is a positive number whose logarithm is to be learned, such as a latency.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        macs: Cost | None = None,
        params: Cost | None = None,
        features: Describe | None = None,
        references: Mapping[str, Predictor] | None = None,
        unit: str = "ms",
        level: float = 0.9,
        positive: bool = True,
    ) -> None:
        super().__init__(space, unit, level)
        self.positive = positive
        self._columns = Columns(space, macs=macs, params=params, features=features, references=references)

    def fit(self, archs: Archs, values: Values, noise: Values | None = None) -> None:
        """Learn from measured architectures; see `Predictor.fit`.

        Raises:
            ArchitectureError: for architectures of another space.
            PredictorError: for fewer than four architectures, or a measurement that is impossible.
        """
        known = measured(
            self.space, archs, values, noise, fewest=4, unit=self.unit, positive=self.positive
        )  # fmt: skip
        target, spread = to_learn(known, self.positive)
        columns = self._columns.table(known.genes).everything
        self._process = learned_process(columns, target, spread, trust=self._trust(columns))
        mean, sd = self._process.left_out()
        self._calibration = Calibration.of(target - mean, sd, self.level)
        self._measured = known

    def predict(self, archs: Archs) -> Estimate:
        """One estimate for each architecture.

        Raises:
            ArchitectureError: for architectures of another space.
            PredictorError: before `fit`.
        """
        self.learned_from  # noqa: B018 - refuses before `fit`
        process = self._process
        columns = self._columns.table(genes_of(self.space, archs)).everything
        mean, sd = process.predict_with_sd(columns)
        unsure = np.hypot(sd, process.noise_sd)
        reach, sd = self._calibration.reach(unsure), self._calibration.sd(unsure)
        return estimated(mean, sd, reach, self.positive, self.unit, self.level)

    @property
    def options(self) -> dict[str, Any]:
        """The keywords that make an equal predictor, apart from costs and features."""
        return {"unit": self.unit, "level": self.level, "positive": self.positive}

    @property
    def model(self) -> str:
        """What it is."""
        return "Gaussian process"

    def _trust(self, columns: Values) -> Values | None:
        """How far each column is trusted ``(columns,)``; all alike when None."""
        return None


def to_learn(known: Measured, positive: bool) -> tuple[Values, Values | None]:
    """What is learned from measurements, and the noise of each: of positive numbers, the logarithms."""
    if not positive:
        return known.values, known.noise
    return np.log(known.values), None if known.noise is None else known.noise / known.values


def estimated(mean: Values, sd: Values, reach: Values, positive: bool, unit: str, level: float) -> Estimate:
    """The estimate that goes with what was learned: back from logarithms, where those were."""
    if not positive:
        return Estimate(mean, mean - reach, mean + reach, sd, unit, level)
    value = np.exp(mean)
    return Estimate(value, np.exp(mean - reach), np.exp(mean + reach), value * sd, unit, level)
