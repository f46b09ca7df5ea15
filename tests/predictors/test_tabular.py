"""The evidence chooses the model."""

from __future__ import annotations

import numpy as np
import pytest

from predictors.models import SIMPLE_FIRST
from predictors.tabular import Tabular
from tests.predictors.latencies import SPACE, latency_ms, macs, sampled


def learned(count: int, measure: object = latency_ms, **options: object) -> Tabular:
    genes = sampled(count)
    predictor = Tabular(SPACE, macs=macs, **options)  # type: ignore[arg-type]
    predictor.fit(genes, measure(genes))  # type: ignore[operator]
    return predictor


def error(predictor: Tabular) -> float:
    genes = sampled(400, seed=9)
    return float(np.abs(predictor.predict(genes).mean / latency_ms(genes) - 1).mean())


def test_a_latency_that_is_a_power_of_the_macs_is_learned_by_the_line() -> None:
    predictor = learned(12, lambda genes: 0.3 * (macs(genes) / 1e6) ** 0.7)
    assert predictor.chosen == "line"
    genes = sampled(50, seed=3)
    np.testing.assert_allclose(predictor.predict(genes).mean, 0.3 * (macs(genes) / 1e6) ** 0.7, rtol=1e-6)


def test_a_latency_with_a_slow_stage_is_learned_by_more_than_the_line() -> None:
    predictor = learned(60)
    assert predictor.chosen != "line"
    assert predictor.errors[predictor.chosen] < 0.5 * predictor.errors["line"]


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
    assert predictor.chosen in SIMPLE_FIRST


def test_equal_measurements_are_no_trouble() -> None:
    found = learned(8, lambda genes: np.full(len(genes), 2.0)).predict(sampled(5))
    np.testing.assert_allclose(found.mean, 2.0)
    assert np.isfinite(found.high).all()
