"""The Gaussian process agrees with scikit-learn's, knows what it does not know, and begins where it is told."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import check_grad
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

from predictors.gaussian_process import Covariance, GaussianProcess, _Facts, _gram

Values = NDArray[np.float64]


def cases(count: int, seed: int = 0) -> tuple[Values, Values]:
    """Eight columns, and a number that is nearly linear in them."""
    columns = np.random.default_rng(seed).normal(size=(count, 8))
    return columns, columns @ np.arange(8.0) + 3 * np.sin(columns[:, 0] + columns[:, 1]) + 70


def test_mean_and_spread_are_those_of_scikit_learn_with_the_same_covariance() -> None:
    columns, values = cases(40)
    ahead, _ = cases(25, seed=1)
    ours = GaussianProcess(columns, values)
    scaled = (columns - columns.mean(0)) / columns.std(0)
    there = (ahead - columns.mean(0)) / columns.std(0)
    found = ours.covariance
    kernel = (
        ConstantKernel(found.linear / 8) * DotProduct(0)
        + ConstantKernel(found.smooth) * RBF(found.length * 8**0.5)
        + WhiteKernel(found.noise)
    )
    peer = GaussianProcessRegressor(kernel, alpha=1e-8, optimizer=None)
    mean, spread = peer.fit(scaled, (values - values.mean()) / values.std()).predict(there, return_std=True)
    ours_mean, ours_spread = ours.predict_with_sd(ahead)
    np.testing.assert_allclose(ours_mean, mean * values.std() + values.mean(), rtol=1e-6)
    np.testing.assert_allclose(ours.predict(ahead), ours_mean)
    # scikit-learn counts the noise of a measurement into the spread
    np.testing.assert_allclose(
        ours_spread**2 + ours.noise_sd**2, (spread * values.std()) ** 2, rtol=1e-4, atol=1e-6
    )


def test_the_gradient_is_that_of_the_density() -> None:
    columns, values = cases(30)
    facts = _Facts(*_gram(columns, (columns**2).sum(1)), (values - 70) / values.std(), np.full(30, 1e-3))
    for logs in (Covariance().logs, np.log([2.0, 0.1, 0.7, 0.05])):
        error = check_grad(lambda t: facts.surprise(t)[0], lambda t: facts.surprise(t)[1], logs)
        assert error < 1e-4 * max(1.0, float(np.abs(facts.surprise(logs)[1]).max()))


def test_the_covariance_found_is_likelier_than_the_one_it_began_with() -> None:
    columns, values = cases(30)
    found = GaussianProcess(columns, values)
    same = GaussianProcess(columns, values, start=found.covariance, steps=0)
    assert same.covariance == found.covariance != Covariance()
    ahead, truth = cases(200, seed=2)
    plain = GaussianProcess(columns, values, steps=0)
    assert np.abs(found.predict(ahead) - truth).mean() < np.abs(plain.predict(ahead) - truth).mean()


def test_it_is_sure_where_it_was_measured_and_unsure_far_away() -> None:
    columns, values = cases(40)
    _, near = GaussianProcess(columns, values).predict_with_sd(columns[:1])
    _, far = GaussianProcess(columns, values).predict_with_sd(columns[:1] + 10)
    assert far > 5 * near


def test_a_measurement_known_to_be_noisy_is_followed_less() -> None:
    columns, values = cases(40)
    wrong = values.copy()
    wrong[0] += 20
    noise = np.zeros(40)
    noise[0] = 50.0
    trusted = GaussianProcess(columns, wrong).predict(columns[:1])
    doubted = GaussianProcess(columns, wrong, noise_sd=noise).predict(columns[:1])
    assert abs(doubted - values[0]) < abs(trusted - values[0])


def test_columns_and_values_that_do_not_vary_are_no_trouble() -> None:
    columns, values = cases(10)
    columns[:, 3] = 7.0
    constant = GaussianProcess(columns, np.full(10, 4.0))
    np.testing.assert_allclose(constant.predict(columns), 4.0)
    assert np.isfinite(GaussianProcess(np.ones((10, 2)), values).predict(np.ones((3, 2)))).all()


@pytest.mark.parametrize(
    ("columns", "values", "message"),
    [
        (np.zeros((3, 2)), np.zeros(4), r"columns \(3, 2\), values \(4,\)"),
        (np.zeros((1, 2)), np.zeros(1), "1 measurements .* at least 2"),
        (np.zeros((2, 2)), np.array([1.0, np.nan]), "values of a Gaussian process holds NaN"),
    ],
)
def test_measurements_that_cannot_be_learned_from_are_named(
    columns: Values, values: Values, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianProcess(columns, values)
