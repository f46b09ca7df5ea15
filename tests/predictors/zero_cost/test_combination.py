"""Several scores become one ranking."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from predictors.estimate import PredictorError
from predictors.zero_cost import Combination
from predictors.zero_cost.kendall import soft_kendall


def test_the_soft_correlation_becomes_kendalls_as_it_grows_sharper() -> None:
    rng = np.random.default_rng(0)
    predicted, true = rng.normal(size=30), rng.normal(size=30)
    tau = kendalltau(predicted, true).statistic
    off = [
        abs(float(soft_kendall(torch.tensor(predicted), torch.tensor(true), sharpness)) - tau)
        for sharpness in (1.0, 10.0, 1000.0, 1e9)
    ]
    assert off == sorted(off, reverse=True)
    assert off[-1] == pytest.approx(0, abs=1e-9)


def test_its_gradient_is_that_by_differences() -> None:
    true = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    predicted = torch.randn(
        6, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    ).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_kendall(x, true), (predicted,))


def table(networks: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four scores of networks: two tell half of what they are worth each, one the contrary, one nothing."""
    rng = np.random.default_rng(seed)
    size, depth = rng.normal(size=(2, networks))
    noise = rng.normal(size=(3, networks))
    columns = [
        np.exp(5 * (size + 0.3 * noise[0])),
        depth + 0.3 * noise[1],
        -size - depth + noise[2],
        noise[0],
    ]
    return np.stack(columns, axis=1), np.tanh(size + depth)


def test_together_they_rank_better_than_the_best_of_them() -> None:
    scores, values = table(60, 0)
    fresh, true = table(300, 1)
    found = kendalltau(Combination().fit(scores, values).predict(fresh), true).statistic
    alone = max(abs(kendalltau(column, true).statistic) for column in fresh.T)
    assert found > alone + 0.1


def test_it_is_the_same_whatever_the_scale_of_a_score() -> None:
    scores, values = table(30, 0)
    other = np.stack([np.log(scores[:, 0]), *(7 + 3 * scores[:, 1:].T)], axis=1)
    np.testing.assert_allclose(
        Combination().fit(scores, values).predict(scores), Combination().fit(other, values).predict(other)
    )


def test_the_same_seed_learns_the_same() -> None:
    scores, values = table(30, 0)
    first, again, other = (Combination(seed).fit(scores, values).predict(scores) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
def test_too_few_or_impossible_evaluations_are_refused(spoilt: float) -> None:
    scores, values = table(10, 0)
    with pytest.raises(PredictorError, match="4 or more"):
        Combination().fit(scores[:3], values[:3])
    scores[2, 1] = spoilt
    with pytest.raises(PredictorError, match="finite"):
        Combination().fit(scores, values)
    with pytest.raises(PredictorError, match="fit"):
        Combination().predict(scores)
