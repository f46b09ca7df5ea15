"""Intervals that hold what they promise, from how far off a predictor was on what it had not seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Values = NDArray[np.float64]

FEW = 20
"""Below so many residuals their largest values say little, and their spread is used instead."""


def width_factor(residuals: Values, unsure: Values, level: float) -> float:
    """How many times its own uncertainty a prediction's interval has to reach to each side.

    The residuals are of measurements left out in cross-validation, so an interval covers what is new.
    From twenty on the factor is their conformal quantile, which assumes no distribution (Lei et al.,
    arXiv:1604.04173, with residuals scaled as in section 5.2); below, Student's t on their spread.

    Args:
        residuals: measured less predicted ``(measurements,)``.
        unsure: the predictor's own standard deviation for each.
        level: share that should be covered, e.g. 0.9.
    """
    scaled = np.abs(residuals) / unsure
    count = len(scaled)
    if count < FEW:
        return float(student.ppf(0.5 + level / 2, max(count - 1, 1)) * np.sqrt(np.mean(scaled**2)))
    return float(np.quantile(scaled, min(1.0, level * (count + 1) / count), method="higher"))
