"""Predict a latency (or another positive number) from tens of measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from predictors.columns import Columns, Describe, Table
from predictors.estimate import (
    Archs,
    Cost,
    Estimate,
    Learner,
    Predictor,
    Values,
    genes_of,
    measured,
    predictors,
)
from predictors.intervals import FEW, Calibration
from predictors.models import ENOUGH_FOR_TREES, MODELS, Model, candidates
from supernet.space import SearchSpace

FEWEST = 4
"""Measurements to learn from."""
ONE_BY_ONE = 20
"""Up to so many measurements are left out one by one; more of them in folds."""
TINY = 1e-9
"""A model of noiseless measurements may call itself quite sure."""
CAUTION = 3.0
"""How many measurements' worth of doubt there is that one model is better than another."""


@predictors.register("tabular")
class Tabular(Learner):
    """Learns logarithms with several models, and believes each as far as measurements that it has not seen allow.

    Every model predicts the measurements that were left out of its learning; the estimate is the mean of the models
    whose error on those is least (weights above zero by least squares, drawn towards equal ones while there are few
    measurements). So are the intervals found, see `predictors.intervals.Calibration`. With predictors of other
    devices, what they say becomes the most trusted column: ten measurements of a new device then go as far as a
    hundred without.

    Args:
        space: of the architectures.
        macs: exact multiply-adds; their logarithm is the line that everything else is held against.
        params: exact parameters; their logarithm becomes a column.
        features: columns that describe an architecture, where `Encoding.ordinal` is not enough.
        references: predictors of other devices, by name.
        unit: of what is measured.
        level: share of measurements that an interval should cover.
        seed: of the folds.

    Attributes:
        weights: how far each model of `predictors.models.MODELS` is believed; the sum is one.
        errors: mean absolute error of every model's logarithm on what it had not seen.
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
        seed: int = 0,
    ) -> None:
        super().__init__(space, unit, level)
        self.seed = seed
        self.weights, self.errors = dict[str, float](), dict[str, float]()
        self._columns = Columns(space, macs=macs, params=params, features=features, references=references)
        self._models: dict[str, Model] = {}

    def fit(self, archs: Archs, values: Values, noise: Values | None = None) -> None:
        """Learn from measured architectures; see `Predictor.fit`.

        Raises:
            ArchitectureError: for architectures of another space.
            PredictorError: for fewer than four architectures, or a measurement that is not positive.
        """
        known = measured(
            self.space, archs, values, noise, fewest=FEWEST, unit=self.unit, positive=True
        )  # fmt: skip
        spread = np.zeros(len(known.values)) if known.noise is None else known.noise
        facts = _Facts(self._columns.table(known.genes), np.log(known.values), spread / known.values)
        self._models = facts.models(candidates(facts.table))
        errors, sds = facts.left_out(self._models, self.seed)
        believed = weigh(errors)
        self.weights = dict(zip(self._models, believed.tolist()))
        self.errors = dict(zip(self._models, np.abs(errors).mean(0).tolist()))
        unsure = np.sqrt(_variance(errors, sds, believed)) + TINY
        off = errors @ believed if len(errors) > FEW else _unseen(errors)
        self._calibration = Calibration.of(off, unsure, self.level)
        self._measured = known

    def predict(self, archs: Archs) -> Estimate:
        """One estimate for each architecture.

        Raises:
            ArchitectureError: for architectures of another space.
            PredictorError: before `fit`.
        """
        self.learned_from  # noqa: B018 - refuses before `fit`
        table = self._columns.table(genes_of(self.space, archs))
        found = [model.predict(table) for model in self._models.values()]
        means, sds = (np.stack(part, axis=1) for part in zip(*found))
        believed = np.array(list(self.weights.values()))
        log = means @ believed
        unsure = np.sqrt(_variance(means, sds, believed)) + TINY
        reach, mean = self._calibration.reach(unsure), np.exp(log)
        sd = mean * self._calibration.sd(unsure)
        return Estimate(mean, np.exp(log - reach), np.exp(log + reach), sd, self.unit, self.level)

    @property
    def options(self) -> dict[str, Any]:
        """The keywords that make an equal predictor, apart from costs, features and references."""
        return {"unit": self.unit, "level": self.level, "seed": self.seed}

    @property
    def model(self) -> str:
        """The models believed, how far, and why: how far off each was on what it had not seen."""
        shares = sorted(self.weights.items(), key=lambda item: -item[1])
        words = ", ".join(
            f"{name} {share:.0%} (alone off by {self.errors[name]:.1%})"
            for name, share in shares
            if share > 0.005
        )
        others = ", ".join(self._columns.references)
        return f"{words}; references: {others}" if others else words


@dataclass(frozen=True)
class _Facts:
    """What models learn from: a table, the logarithms measured, and the noise of each."""

    table: Table
    logs: Values
    noise: Values

    def models(self, names: Sequence[str], like: Mapping[str, Model] | None = None) -> dict[str, Model]:
        """Those named, each beginning where the same model of more measurements ended, if it is given."""
        before = like or {}
        return {
            name: MODELS[name](self.table, self.logs, self.noise, before.get(name)) for name in names
        }  # fmt: skip

    def rows(self, which: NDArray[np.int64]) -> _Facts:
        """Some of the measurements."""
        return _Facts(self.table.rows(which), self.logs[which], self.noise[which])

    def left_out(self, like: Mapping[str, Model], seed: int) -> tuple[Values, Values]:
        """For every measurement ``(measurements, models)``: how far off each was without it, and how unsure."""
        count = len(self.logs)
        errors, sds = np.zeros((count, len(like))), np.zeros((count, len(like)))
        order = np.random.default_rng(seed).permutation(count)
        few = count <= ONE_BY_ONE
        folds = count if few else 10 if count < ENOUGH_FOR_TREES else 5
        for fold in np.array_split(order, folds):
            # A covariance that has seen all of a few measurements is too sure of those that are left out.
            models = self.rows(np.setdiff1d(order, fold)).models(list(like), None if few else like)
            table = self.table.rows(fold)
            for column, model in enumerate(models.values()):
                mean, sds[fold, column] = model.predict(table)
                errors[fold, column] = self.logs[fold] - mean
        return errors, sds


def weigh(errors: Values) -> Values:
    """Weights of several models, zero or more and of sum one, whose mean is least off ``(models,)``.

    Errors that go together count once: of two models that fail alike, the better gets the weight of both (Bates and
    Granger's combination of forecasts, 1969, with weights kept above zero). `CAUTION` draws towards equal weights.

    Args:
        errors: on measurements they have not seen ``(measurements, models)``.
    """
    count, models = errors.shape
    scale = float((errors**2).mean() ** 0.5) + 1e-12
    doubt = (CAUTION / count) ** 0.5
    rows = [errors / scale / count**0.5, doubt * np.eye(models), 1e3 * np.ones((1, models))]
    found: Values = nnls(np.vstack(rows), np.concatenate([np.zeros(count + models), [1e3]]))[0]
    return np.asarray(found / found.sum(), dtype=np.float64)


def _unseen(errors: Values) -> Values:
    """How far off the mean of several models is on each measurement, by weights that have not seen it either.

    Of a few measurements the weights fit the very errors that they are judged by, and intervals would be too narrow.
    """
    return np.array([own @ weigh(np.delete(errors, i, axis=0)) for i, own in enumerate(errors)])


def _variance(means: Values, sds: Values, weights: Values) -> Values:
    """Of the mixture of several models' predictions ``(architectures,)``."""
    middle = (means @ weights)[:, None]
    mixed: Values = (sds**2 + (means - middle) ** 2) @ weights
    return mixed
