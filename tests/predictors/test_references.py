"""What other devices needed is most of what a new one needs."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hardware.device import local_device
from hardware.measurement import Measurement, Profile, Reference, RepeatError
from hardware.options import DeviceOptions
from predictors.estimate import Predictor
from predictors.process import Process
from predictors.references import most_telling, read_references
from predictors.storage import load, save
from predictors.tabular import Tabular
from supernet.encoding import Encoding
from supernet.errors import StateError
from supernet.space import Choice, Genes, SearchSpace
from tests.predictors.latencies import SPACE, macs, sampled

Values = NDArray[np.float64]
_RULES = np.random.default_rng(5).uniform(0, 2, (4, len(Encoding(SPACE).ordinal_names)))


def elsewhere(genes: Genes, device: int) -> Values:
    """Four devices with a rule of their own each, which has little to do with multiply-adds."""
    return 1 + Encoding(SPACE).ordinal(genes) @ _RULES[device]


def here(genes: Genes) -> Values:
    """A device that is like two of them."""
    return elsewhere(genes, 0) ** 0.7 * elsewhere(genes, 2) ** 0.3


@pytest.fixture(scope="module")
def references() -> dict[str, Predictor]:
    found: dict[str, Predictor] = {}
    for device in range(4):
        found[str(device)] = Process(SPACE, macs=macs)
        genes = sampled(60, seed=device)
        found[str(device)].fit(genes, elsewhere(genes, device))
    return found


def error(predictor: Tabular) -> float:
    genes = sampled(300, seed=99)
    return float(np.abs(predictor.predict(genes).mean / here(genes) - 1).mean())


def test_ten_measurements_go_further_with_other_devices(references: dict[str, Predictor]) -> None:
    genes = SPACE.matrix(most_telling(SPACE, 10, references, cost=macs))
    with_them = Tabular(SPACE, macs=macs, references=references)
    with_them.fit(genes, here(genes))
    alone = Tabular(SPACE, macs=macs)
    alone.fit(genes, here(genes))
    assert error(with_them) < 0.6 * error(alone)
    assert "references: 0, 1, 2, 3" in with_them.model


def test_devices_that_say_nothing_do_little_harm(references: dict[str, Predictor]) -> None:
    genes = sampled(30)
    ms = macs(genes) ** 0.8
    predictor = Tabular(SPACE, macs=macs, references=references)
    predictor.fit(genes, ms)
    fresh = sampled(200, seed=9)
    assert np.abs(predictor.predict(fresh).mean / macs(fresh) ** 0.8 - 1).mean() < 0.05


def test_the_choice_holds_both_ends_and_nothing_twice(references: dict[str, Predictor]) -> None:
    chosen = most_telling(SPACE, 12, references)
    assert chosen[:2] == [SPACE.smallest(), SPACE.largest()]
    assert len(set(chosen)) == 12
    assert chosen == most_telling(SPACE, 12, references) != most_telling(SPACE, 12, references, seed=1)
    assert len(most_telling(SPACE, 12, {})) == 12


def profile(space: SearchSpace, genes: Genes, ms: Values, name: str) -> Profile:
    device = local_device(DeviceOptions(name=name, threads=len(name)))
    measurements = tuple(
        Measurement("a", tuple(row), device.id, value, value, value, 1.0, 0.01, 20, 5, "", 0.0)
        for row, value in zip(genes.tolist(), ms.tolist())
    )
    return Profile(
        space.fingerprint, device, {}, Reference("a", (), 1.0), measurements, RepeatError(0.01, 0.01, 2),
        5, 0, 1.0, {},
    )  # fmt: skip


def test_a_folder_of_profiles_is_read_without_those_of_other_spaces_and_this_device(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    genes = sampled(30)
    for name, device in (("phone", 0), ("tablet", 1)):
        profile(SPACE, genes, elsewhere(genes, device), name).save(tmp_path / f"{name}.json")
    other = SearchSpace((Choice("a", (1, 2, 3, 4, 5, 6)),))
    profile(other, np.arange(6)[:, None], np.ones(6), "other").save(tmp_path / "other.json")
    (tmp_path / "notes.json").write_text(json.dumps({"no": "profile"}))
    with caplog.at_level(logging.WARNING):
        found = read_references(tmp_path, SPACE, macs=macs)
    assert [name.partition(" ")[0] for name in found] == ["phone", "tablet"]
    assert "other.json" in caplog.text and "notes.json" in caplog.text
    fresh = sampled(100, seed=4)
    np.testing.assert_allclose(found[next(iter(found))].predict(fresh).mean, elsewhere(fresh, 0), rtol=0.1)
    mine = local_device(DeviceOptions(threads=len("phone"))).id
    assert len(read_references(tmp_path, SPACE, macs=macs, other_than=mine)) == 1
    with pytest.raises(StateError, match=r"no folder .*profile\.json"):
        read_references(tmp_path / "nowhere", SPACE)


def test_a_predictor_with_references_comes_back_with_them_and_not_without(
    references: dict[str, Predictor], tmp_path: Path
) -> None:
    predictor = Tabular(SPACE, macs=macs, references=references)
    predictor.fit(sampled(12), here(sampled(12)))
    save(tmp_path / "p.json", "tabular", predictor, SPACE, local_device())
    back = load(tmp_path / "p.json", macs=macs, references=references).predictor
    fresh = sampled(20, seed=3)
    np.testing.assert_allclose(back.predict(fresh).mean, predictor.predict(fresh).mean)
    with pytest.raises(StateError, match="references"):
        load(tmp_path / "p.json", macs=macs)
