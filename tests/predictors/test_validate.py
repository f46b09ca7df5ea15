"""Errors on what was not seen, not on what was learned."""

from __future__ import annotations

import numpy as np
import pytest

from predictors.estimate import Estimate, Measured, PredictorError
from predictors.options import FEWEST
from predictors.tabular import Tabular
from predictors.validate import by_region, compare, validate
from supernet.space import Genes
from tests.predictors.latencies import SPACE, latency_ms, macs, sampled


class _Rote:
    """Knows what it was told by heart, and guesses one for the rest."""

    options: dict[str, object] = {}  # noqa: RUF012

    model = "by rote"

    def fit(self, genes: Genes, measured: np.ndarray, noise: np.ndarray | None = None) -> None:
        self.known = {tuple(row): value for row, value in zip(genes.tolist(), measured)}

    def predict(self, genes: Genes) -> Estimate:
        mean = np.array([self.known.get(tuple(row), 1.0) for row in genes.tolist()])
        return Estimate(mean, mean - 0.1, mean + 0.1, 0 * mean, "ms", 0.9)

    @property
    def learned_from(self) -> Measured:
        raise NotImplementedError


def test_learning_by_rote_does_not_pay() -> None:
    genes = sampled(30)
    found = validate(_Rote, genes, np.full(30, 2.0))
    assert found.mape == pytest.approx(0.5)
    assert found.coverage == 0
    assert found.count == 30


def test_a_good_predictor_validates_well_and_says_so_in_words() -> None:
    genes = sampled(40)
    found = validate(lambda: Tabular(SPACE, macs=macs), genes, latency_ms(genes, 0.01), level=0.9)
    assert found.spearman > 0.9
    assert found.within_10 > 0.8
    assert "40 measured subnets" in str(found)


def test_the_figures_are_those_counted_by_hand() -> None:
    mean, measured = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.5, 3.0, 2.0])
    found = compare(Estimate(mean, mean - 0.6, mean + 0.6, 0 * mean, "ms", 0.9), measured)
    assert found.mape == pytest.approx((0 + 0.2 + 0 + 1.0) / 4)
    assert found.within_10 == found.within_5 == 0.5
    assert found.kendall == pytest.approx(1 / 3)
    assert found.coverage == 0.75
    assert found.spearman == pytest.approx(0.4)


def test_too_few_to_split_are_refused() -> None:
    with pytest.raises(PredictorError, match="measure 10"):
        validate(lambda: Tabular(SPACE), sampled(8), np.ones(8))


def test_the_fewest_that_a_run_may_measure_are_enough() -> None:
    genes = sampled(FEWEST)
    assert validate(_Rote, genes, latency_ms(genes)).count == FEWEST
    with pytest.raises(PredictorError):
        validate(_Rote, genes[1:], latency_ms(genes[1:]))


def test_intervals_of_another_level_than_asked_are_refused() -> None:
    genes = sampled(12)
    with pytest.raises(PredictorError, match=r"level 0\.5"):
        validate(lambda: Tabular(SPACE, macs=macs), genes, latency_ms(genes), level=0.5)


def test_errors_are_told_for_each_third_by_hand() -> None:
    measured = np.array([30.0, 1.0, 2.0, 10.0, 20.0, 3.0])
    off = np.array([1.5, 1.0, 1.1, 1.0, 1.0, 0.8])
    mean = measured * off
    found = Estimate(mean, mean * 0.95, mean * 1.05, mean, "ms", 0.9)
    low, middle, high = by_region(found, measured)
    assert [(part.low, part.high, part.count) for part in (low, middle, high)] == [
        (1.0, 2.0, 2), (3.0, 10.0, 2), (20.0, 30.0, 2)
    ]  # fmt: skip
    assert low.mape == pytest.approx(0.05) and low.bias == pytest.approx(0.05) and low.coverage == 0.5
    assert middle.mape == pytest.approx(0.1) and middle.bias == pytest.approx(-0.1)
    assert high.mape == pytest.approx(0.25) and high.coverage == 0.5
