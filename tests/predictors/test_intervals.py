"""A factor on a predictor's own uncertainty that makes its intervals hold."""

from __future__ import annotations

import numpy as np
import pytest

from predictors.intervals import Calibration, width_factor


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_factor_of_a_bell_curve_is_its_quantile(level: float) -> None:
    residuals = np.random.default_rng(0).standard_normal(20_000)
    expected = {0.5: 0.674, 0.9: 1.645}[level]
    assert width_factor(residuals, np.ones(20_000), level) == pytest.approx(expected, rel=0.03)


def test_a_predictor_that_is_too_sure_by_ten_is_widened_by_ten() -> None:
    residuals = np.random.default_rng(0).standard_normal(50)
    assert width_factor(residuals, np.full(50, 0.1), 0.9) == pytest.approx(
        10 * width_factor(residuals, np.ones(50), 0.9)
    )


def test_a_few_residuals_give_more_room_than_many() -> None:
    residuals = np.random.default_rng(0).standard_normal(400)
    few = np.mean([width_factor(part, np.ones(5), 0.9) for part in residuals.reshape(80, 5)])
    assert few > 1.1 * width_factor(residuals, np.ones(400), 0.9)


def test_nothing_is_much_surer_than_the_usual_error() -> None:
    residuals = np.random.default_rng(0).standard_normal(40)
    found = Calibration.of(residuals, np.full(40, 0.2), 0.9)
    assert found.sd(np.array([0.0, 0.2])) == pytest.approx([found.usual / 2**0.5, found.usual])
    assert found.sd(np.array([2.0]))[0] > 5 * found.usual
