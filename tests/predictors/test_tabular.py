"""The evidence chooses the model."""

from __future__ import annotations

import numpy as np
import pytest

from predictors.tabular import Tabular, _unseen, weigh
from tests.predictors.latencies import SPACE, latency_ms, macs, sampled


def learned(count: int, measure: object = latency_ms, **options: object) -> Tabular:
    genes = sampled(count)
    predictor = Tabular(SPACE, macs=macs, **options)  # type: ignore[arg-type]
    predictor.fit(genes, measure(genes))  # type: ignore[operator]
    return predictor


def error(predictor: Tabular) -> float:
    genes = sampled(400, seed=9)
    return float(np.abs(predictor.predict(genes).mean / latency_ms(genes) - 1).mean())


def test_a_latency_that_is_a_power_of_the_macs_is_learned_from_a_dozen() -> None:
    predictor = learned(12, lambda genes: 0.3 * (macs(genes) / 1e6) ** 0.7)
    genes = sampled(50, seed=3)
    np.testing.assert_allclose(predictor.predict(genes).mean, 0.3 * (macs(genes) / 1e6) ** 0.7, rtol=0.02)


def test_a_latency_with_a_slow_stage_is_learned_by_more_than_the_line() -> None:
    predictor = learned(60)
    assert predictor.weights["line"] < 0.1
    assert predictor.errors["process"] < 0.5 * predictor.errors["line"]
    off = predictor.errors["process"]
    assert f"process {predictor.weights['process']:.0%} (alone off by {off:.1%})" in predictor.model


def test_weights_are_those_that_err_least_together() -> None:
    rng = np.random.default_rng(0)
    common, own = rng.normal(size=(4000, 1)), rng.normal(size=(4000, 3))
    alike = weigh(np.hstack([common + 0.01 * own[:, :2], own[:, 2:]]))
    assert alike[2] == pytest.approx(0.5, abs=0.03), "two models that err alike count once"
    assert weigh(np.hstack([own[:, :1], 3 * own[:, 1:2]]))[0] == pytest.approx(0.9, abs=0.02)


def test_a_few_errors_leave_the_weights_near_equal() -> None:
    errors = np.array([[0.01, 0.011], [0.02, 0.022], [-0.01, -0.011]])
    assert weigh(errors) == pytest.approx([0.5, 0.5], abs=0.1)


def test_more_measurements_make_a_smaller_error() -> None:
    assert error(learned(80)) < 0.5 * error(learned(8))


def test_ten_measurements_beat_guessing_the_mean() -> None:
    genes = sampled(400, seed=9)
    true = latency_ms(genes)
    assert error(learned(10)) < 0.7 * np.abs(true.mean() / true - 1).mean()


@pytest.mark.parametrize("count", [12, 40])
def test_intervals_cover_about_what_they_promise(count: int) -> None:
    inside = []
    for seed in range(4):
        genes = sampled(count, seed)
        predictor = Tabular(SPACE, macs=macs, seed=seed)
        predictor.fit(genes, latency_ms(genes, 0.03, seed))
        fresh = sampled(300, seed + 100)
        found, measured = predictor.predict(fresh), latency_ms(fresh, 0.03, seed + 100)
        inside.append(((found.low <= measured) & (measured <= found.high)).mean())
    # 12 or 40 measurements fix a quantile loosely; a predictor that is sure of itself covers a half or less
    assert np.mean(inside) > 0.8


def test_it_learns_without_exact_costs() -> None:
    genes = sampled(40)
    predictor = Tabular(SPACE)
    predictor.fit(genes, latency_ms(genes))
    assert error(predictor) < 0.1


def test_equal_measurements_are_no_trouble() -> None:
    found = learned(8, lambda genes: np.full(len(genes), 2.0)).predict(sampled(5))
    np.testing.assert_allclose(found.mean, 2.0)
    assert np.isfinite(found.high).all()


def test_an_error_has_no_part_in_the_weights_that_it_is_judged_by() -> None:
    errors = np.random.default_rng(0).normal(size=(12, 3))
    twice = errors.copy()
    twice[4] *= 2
    before, after = _unseen(errors), _unseen(twice)
    assert after[4] == pytest.approx(2 * before[4])
    assert before[4] == pytest.approx(errors[4] @ weigh(np.delete(errors, 4, axis=0)))
    assert _unseen(errors[:, :1]) == pytest.approx(errors[:, 0])  # of one model, which has all the weight
