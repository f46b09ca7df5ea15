"""A Gaussian process for a few dozen to a few thousand measurements: a linear part, a smooth part and noise.

What is learned about an architecture (accuracy, the logarithm of a latency) is close to a sum over its choices, and
the rest varies slowly. So the covariance of two rows is

    linear * x.y / columns  +  smooth * exp(-|x - y|^2 / (2 * length^2 * columns))  +  noise where they are one row

with columns and values standardised. The four numbers are those of the greatest posterior density: marginal
likelihood with its gradient, times a wide log-normal prior that keeps a fit of twenty points from wandering.

scikit-learn's `GaussianProcessRegressor` with the same kernel predicts equally well (mean error .0504 points from 500
accuracies by either), but takes 1.1 s where this takes 0.4 s, has no prior, and cannot begin at the answer of the last
fit, which is what makes a fit after every batch of a search affordable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

Values = NDArray[np.float64]

JITTER = 1e-8
"""Added to every variance, so that two equal rows can be told apart from a singular matrix."""
PRIOR_SPREAD = 3.0
"""Standard deviation of the logarithm of every number of a `Covariance` before anything is measured."""


@dataclass(frozen=True)
class Covariance:
    """The four numbers of the kernel, in units of the variance of the values; the defaults are the prior's centre.

    Args:
        linear: variance of the linear part.
        smooth: variance of the smooth part.
        length: distance over which that changes, where two standardised rows are about 1.4 apart.
        noise: variance of one measurement about both.
    """

    linear: float = 0.5
    smooth: float = 0.5
    length: float = 1.5
    noise: float = 1e-2

    @property
    def logs(self) -> Values:
        """Their natural logarithms ``(4,)``."""
        return np.log([self.linear, self.smooth, self.length, self.noise])


BOUNDS = ((-9.0, 5.0), (-9.0, 5.0), (0.0, 4.0), (-13.0, 1.0))
"""Of those logarithms. A length below one, where no two rows are near each other, would be noise that is remembered."""


class GaussianProcess:
    """Learns one number from rows of columns, and says how sure it is.

    Args:
        columns: what is known of each measured case ``(measurements, columns)``.
        values: what was measured ``(measurements,)``.
        noise_sd: standard deviation of each measurement where it is known ``(measurements,)``, in the unit of the
            values; comes on top of the noise that is learned.
        trust: what to multiply each standardised column by ``(columns,)``; all are trusted alike when None.
        start: where the search for the covariance begins, e.g. that of an earlier fit.
        steps: of that search, at most; 0 takes ``start`` as it is.

    Attributes:
        covariance: what was found.

    Raises:
        ValueError: for fewer than two measurements, shapes that disagree, or numbers that are not finite.
    """

    def __init__(
        self,
        columns: Values,
        values: Values,
        *,
        noise_sd: Values | None = None,
        trust: Values | None = None,
        start: Covariance | None = None,
        steps: int = 30,
    ) -> None:
        columns, values = np.asarray(columns, dtype=np.float64), np.asarray(values, dtype=np.float64)
        extra = np.zeros(len(values)) if noise_sd is None else np.asarray(noise_sd, dtype=np.float64)
        _check(columns, values, extra)
        self._standardise(columns, values, trust)
        self._rows = self._standard(columns)
        self._square = (self._rows**2).sum(axis=1)
        target = self._target = (values - self._mean) / self._spread
        facts = _Facts(*_gram(self._rows, self._square), target, (extra / self._spread) ** 2 + JITTER)
        self.covariance = _likeliest(facts, start or Covariance(), steps)
        self._factor: Values = np.asarray(np.linalg.cholesky(facts.matrix(self.covariance)), dtype=np.float64)
        self._weights: Values = cho_solve((self._factor, True), target, check_finite=False)

    def predict(self, columns: Values) -> Values:
        """The most probable value of each row of ``(cases, columns)``, ``(cases,)``."""
        cross, _ = self._cross(columns)
        return np.asarray(cross @ self._weights * self._spread + self._mean, dtype=np.float64)

    def predict_with_sd(self, columns: Values) -> tuple[Values, Values]:
        """The most probable values, and how far the truth may be off, as a standard deviation ``(cases,)`` each.

        The noise of a measurement is not in it: it is about what is true, not about what would be measured next.
        """
        cross, prior = self._cross(columns)
        known = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = np.maximum(prior - (known**2).sum(axis=0), 1e-12)
        mean = cross @ self._weights * self._spread + self._mean
        return mean, np.sqrt(variance) * self._spread

    def left_out(self) -> tuple[Values, Values]:
        """Each measurement as the others predict it, and how far off it may be: mean and standard deviation.

        Its noise is in it, other than in `predict_with_sd`. The covariance is that of all measurements; so are the
        centre and the spread of the columns (Rasmussen and Williams 2006, equations 5.10 to 5.12).
        """
        variance = 1 / np.diag(_inverse(self._factor))
        mean = self._target - self._weights * variance
        return mean * self._spread + self._mean, np.sqrt(variance) * self._spread

    @property
    def noise_sd(self) -> float:
        """The standard deviation of one measurement about the truth, in the unit of the values."""
        return float(np.sqrt(self.covariance.noise) * self._spread)

    def _standardise(self, columns: Values, values: Values, trust: Values | None) -> None:
        spread = columns.std(axis=0)
        self._varies = spread > 1e-9
        spread = spread if trust is None else spread / np.maximum(trust, 1e-9)
        self._centre, self._scale = columns[:, self._varies].mean(axis=0), spread[self._varies]
        self._mean, self._spread = float(values.mean()), float(values.std()) or 1.0

    def _standard(self, columns: Values) -> Values:
        standard = (np.asarray(columns, dtype=np.float64)[:, self._varies] - self._centre) / self._scale
        return np.asarray(standard, dtype=np.float64)

    def _cross(self, columns: Values) -> tuple[Values, Values]:
        """Covariance with every measured row ``(cases, measurements)``, and the variance of each before them."""
        rows, found = self._standard(columns), self.covariance
        square = (rows**2).sum(axis=1)
        product = rows @ self._rows.T
        count = max(rows.shape[1], 1)
        cross = np.subtract(product, 0.5 * self._square)
        cross -= 0.5 * square[:, None]
        np.minimum(cross, 0.0, out=cross)  # rounding may make a distance negative
        cross *= 1 / (count * found.length**2)
        np.exp(cross, out=cross)
        cross *= found.smooth
        product *= found.linear / count
        cross += product
        return cross, found.linear * square / count + found.smooth


@dataclass(frozen=True)
class _Facts:
    """What the likelihood is a function of, besides the covariance."""

    product: Values
    """Of every two rows, over the number of columns ``(measurements, measurements)``."""
    distance: Values
    """Squared, over the number of columns."""
    target: Values
    extra: Values
    """Variance of each measurement that is known beforehand."""

    def matrix(self, by: Covariance) -> Values:
        """Covariance of the measurements, noise included, ``(measurements, measurements)``."""
        found: Values = by.linear * self.product + by.smooth * np.exp(self.distance * (-0.5 / by.length**2))
        found[np.diag_indices_from(found)] += by.noise + self.extra
        return found

    def surprise(self, logs: Values) -> tuple[float, Values]:
        """Negative logarithm of the posterior density, up to a constant, and its gradient ``(4,)``."""
        linear, smooth, length, noise = np.exp(logs)
        bumps = smooth * np.exp(self.distance * (-0.5 / length**2))
        whole = linear * self.product + bumps
        whole[np.diag_indices_from(whole)] += noise + self.extra
        try:
            factor = np.linalg.cholesky(whole)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros(4)
        inverse = _inverse(factor)
        weights = inverse @ self.target
        value = 0.5 * self.target @ weights + np.log(np.diag(factor)).sum()
        slope = inverse - np.outer(weights, weights)
        pull = slope * bumps
        gradient = 0.5 * np.array(
            [
                linear * np.vdot(slope, self.product),
                pull.sum(),
                np.vdot(pull, self.distance) / length**2,
                noise * np.trace(slope),
            ]
        )
        away = logs - Covariance().logs
        return float(value + 0.5 * (away**2).sum() / PRIOR_SPREAD**2), gradient + away / PRIOR_SPREAD**2


def _likeliest(facts: _Facts, start: Covariance, steps: int) -> Covariance:
    if steps == 0:
        return start
    found = minimize(
        facts.surprise, start.logs, jac=True, method="L-BFGS-B", bounds=BOUNDS, options={"maxiter": steps}
    )
    return Covariance(*np.exp(found.x).tolist())


def _gram(rows: Values, square: Values) -> tuple[Values, Values]:
    count = max(rows.shape[1], 1)
    product = rows @ rows.T
    distance = np.maximum(square[:, None] + square - 2 * product, 0.0) / count
    return product / count, distance


def _inverse(factor: Values) -> Values:
    """The inverse of ``factor @ factor.T``, a third of the work of solving for the unit matrix."""
    lower: Values = dpotri(factor, lower=1)[0]
    lower = np.tril(lower)
    return lower + np.tril(lower, -1).T


def _check(columns: Values, values: Values, noise_sd: Values) -> None:
    if columns.ndim != 2 or values.shape != columns.shape[:1] or noise_sd.shape != values.shape:
        raise ValueError(
            f"columns {columns.shape}, values {values.shape} and noise_sd {noise_sd.shape} disagree; they are "
            "(measurements, columns), (measurements,) and (measurements,)"
        )
    if len(values) < 2:
        raise ValueError(f"{len(values)} measurements were given to a Gaussian process; it needs at least 2")
    for name, given in (("columns", columns), ("values", values), ("noise_sd", noise_sd)):
        if not np.isfinite(given).all():
            raise ValueError(f"{name} of a Gaussian process holds NaN or infinity; leave those rows out")
