"""What every registered predictor promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hardware.device import local_device
from predictors.estimate import Predictor, PredictorError, predictors
from predictors.storage import load, save
from predictors.tabular import Tabular
from supernet.errors import ArchitectureError, StateError, SupernetError
from tests.predictors.latencies import SPACE, latency_ms, macs, sampled

assert predictors["tabular"] is Tabular
NAMES = list(predictors)
QUICK = {"graph_network": {"pretrain": False}}


def made(name: str) -> Predictor:
    return predictors[name](SPACE, macs=macs, params=None, **QUICK.get(name, {}))


@pytest.fixture(scope="module", params=NAMES)
def learned(request: pytest.FixtureRequest) -> tuple[str, Predictor]:
    predictor = made(request.param)
    genes = sampled(24)
    predictor.fit(genes, latency_ms(genes, noise=0.01))
    return request.param, predictor


def test_an_interval_holds_its_mean(learned: tuple[str, Predictor]) -> None:
    found = learned[1].predict(sampled(100, seed=1))
    assert found.mean.shape == found.low.shape == found.high.shape == (100,)
    assert (found.low <= found.mean).all()
    assert (found.mean <= found.high).all()
    assert (found.sd > 0).all()
    assert found.unit == "ms"
    assert 0 < found.level < 1


def test_what_was_not_measured_is_ranked(learned: tuple[str, Predictor]) -> None:
    genes = sampled(300, seed=1)
    found, true = learned[1].predict(genes).mean, latency_ms(genes)
    assert np.corrcoef(found, true)[0, 1] > 0.9


def test_architectures_are_as_good_as_their_genes(learned: tuple[str, Predictor]) -> None:
    genes = sampled(5, seed=3)
    archs = [SPACE.architecture(row) for row in genes.tolist()]
    np.testing.assert_array_equal(learned[1].predict(archs).mean, learned[1].predict(genes).mean)
    again = made(learned[0])
    again.fit(archs, latency_ms(genes))
    np.testing.assert_array_equal(again.learned_from.genes, genes)


@pytest.mark.parametrize("genes", [sampled(3)[:, 1:], sampled(3) + 5, sampled(3).astype(float)])
def test_genes_of_another_space_are_refused(learned: tuple[str, Predictor], genes: np.ndarray) -> None:
    with pytest.raises(ArchitectureError, match="gene"):
        learned[1].predict(genes)


def test_a_measurement_known_to_be_noisy_counts_for_less(learned: tuple[str, Predictor]) -> None:
    genes, spoilt = sampled(24), latency_ms(sampled(24))
    spoilt[::6] *= 2
    noise = np.where(np.arange(24) % 6 == 0, spoilt, 0.001 * spoilt)
    fresh = sampled(200, seed=1)
    errors = []
    for known in (None, noise):
        predictor = made(learned[0])
        predictor.fit(genes, spoilt, known)
        errors.append(float(np.abs(predictor.predict(fresh).mean / latency_ms(fresh) - 1).mean()))
    assert errors[1] < 0.5 * errors[0]


def test_equal_networks_have_equal_estimates(learned: tuple[str, Predictor]) -> None:
    genes = SPACE.matrix([SPACE.smallest()])
    ghost = genes.copy()
    ghost[0, SPACE.index("stages.0.2.width")] = 2
    assert learned[1].predict(genes).mean == learned[1].predict(ghost).mean


def test_learning_again_gives_the_same(learned: tuple[str, Predictor]) -> None:
    name, predictor = learned
    again = predictors[name](SPACE, macs=macs, params=None, **predictor.options)
    known = predictor.learned_from
    again.fit(known.genes, known.values, known.noise)
    genes = sampled(50, seed=2)
    np.testing.assert_array_equal(again.predict(genes).high, predictor.predict(genes).high)


def test_a_predictor_comes_back_from_its_file(learned: tuple[str, Predictor], tmp_path: Path) -> None:
    name, predictor = learned
    save(tmp_path / "latency.json", name, predictor, SPACE, local_device())
    stored = load(tmp_path / "latency.json", macs=macs)
    assert stored.device == local_device()
    genes = sampled(50, seed=2)
    np.testing.assert_allclose(stored.predictor.predict(genes).low, predictor.predict(genes).low)


def test_a_file_read_with_another_cost_is_refused(learned: tuple[str, Predictor], tmp_path: Path) -> None:
    name, predictor = learned
    save(tmp_path / "latency.json", name, predictor, SPACE, local_device())
    with pytest.raises(StateError, match=r"give the costs.*another version"):
        load(tmp_path / "latency.json")


def test_a_file_of_another_device_is_refused_and_says_in_what_they_differ(tmp_path: Path) -> None:
    predictor, here = predictors["process"](SPACE, macs=macs, params=None), local_device()
    genes = sampled(12)
    predictor.fit(genes, latency_ms(genes))
    path = save(tmp_path / "latency.json", "process", predictor, SPACE, here)
    assert load(path, macs=macs, device=replace(here, name="called otherwise")).device == here
    with pytest.raises(StateError, match=r"differ in threads: 1, 2\)"):
        load(path, macs=macs, device=replace(here, threads=2))


@pytest.mark.parametrize("content", ["", "{", '{"format": 9}', '{"format": 2}'])
def test_a_damaged_file_ends_in_one_clear_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "latency.json").write_text(content)
    with pytest.raises(StateError, match="predictor"):
        load(tmp_path / "latency.json")


@pytest.mark.parametrize("name", NAMES)
def test_asking_before_learning_is_refused(name: str) -> None:
    with pytest.raises(PredictorError, match="call fit"):
        made(name).predict(sampled(3))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("measured", [[1.0, 2.0], [1.0, 2.0, 0.0, 3.0, 4.0], [1.0, np.nan, 1.0, 3.0, 4.0]])
def test_impossible_measurements_are_refused(name: str, measured: list[float]) -> None:
    with pytest.raises(SupernetError, match="measure"):
        made(name).fit(sampled(len(measured)), np.array(measured))
