"""The linear model of blocks is ridge regression, averaged."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge

from predictors import linear
from predictors.linear import BlockLinear


def test_one_trust_and_one_noise_are_a_ridge(monkeypatch: object) -> None:
    rng = np.random.default_rng(0)
    columns, ahead = rng.normal(size=(30, 4)), rng.normal(size=(20, 4))
    values = columns @ [1, 2, 0, -1] + 5 + 0.1 * rng.normal(size=30)
    monkeypatch.setattr(linear, "NOISES", np.array([0.3]))  # type: ignore[attr-defined]
    mean, sd = BlockLinear([columns], values, np.zeros(30), [(4.0,)]).predict([ahead])
    scaled = [(part - columns.mean(0)) / columns.std(0) for part in (columns, ahead)]
    # a variance of 4 shared by four columns is a variance of one for each
    ridge = Ridge(alpha=0.3).fit(scaled[0], values)
    np.testing.assert_allclose(mean, ridge.predict(scaled[1]), rtol=1e-6)
    assert (sd > 0).all()


def test_a_block_that_is_not_trusted_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    columns, more = rng.normal(size=(12, 3)), rng.normal(size=(12, 50))
    values = columns[:, 0] + 0.1 * rng.normal(size=12)
    alone = BlockLinear([columns], values, np.zeros(12), [(1.0,)]).predict([columns])
    beside = BlockLinear([columns, more], values, np.zeros(12), [(1.0, 0.0)]).predict([columns, more])
    np.testing.assert_allclose(alone, beside)


def test_the_trust_that_explains_the_values_gets_the_weight() -> None:
    rng = np.random.default_rng(0)
    right, wrong = rng.normal(size=(40, 3)), rng.normal(size=(40, 3))
    values, ahead = right @ [1.0, -2.0, 3.0], rng.normal(size=(100, 3))
    model = BlockLinear([right, wrong], values, np.zeros(40), [(1.0, 0.0), (0.0, 1.0)])
    mean, _ = model.predict([ahead, rng.normal(size=(100, 3))])
    assert np.corrcoef(mean, ahead @ [1.0, -2.0, 3.0])[0, 1] > 0.999


def test_far_from_what_was_measured_it_is_less_sure() -> None:
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(15, 2))
    model = BlockLinear([columns], columns[:, 0] + 0.1 * rng.normal(size=15), np.zeros(15), [(1.0,)])
    _, sd = model.predict([np.array([[0.0, 0.0], [8.0, 8.0]])])
    assert sd[1] > 2 * sd[0]
