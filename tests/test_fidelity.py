"""The comparison of a supernet with networks trained alone counts, ranks and keeps what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import kendalltau

from benchmarks.few_images import few_images
from benchmarks.fidelity import gaps, kendall, ranked, seconds_ratio, subnets, tau
from benchmarks.fidelity_runs import Bench, Counted, Outcome, Setup, Training, outcomes, variant
from supernet.data import ImageDataset
from supernet.errors import ConfigError, DataError, SupernetError
from supernet.options import DataOptions, TrainOptions
from supernet.sources import load_data
from supernet.trainer import Trainer
from tests.tiny import tiny_supernet

DIGITS = DataOptions(resolution=32, channels=3)
TRAIN = TrainOptions(epochs=2, batch_size=64, lr=0.05, evaluate_examples=1)


@pytest.fixture(scope="module")
def bench() -> Bench:
    found = Bench(Setup(DIGITS, images_per_class=20))
    found._built.update({0: tiny_supernet(), 1: tiny_supernet(1)})
    return found


def _training(bench: Bench, strategy: str, **changes: object) -> Training:
    genes = bench.supernet(0).space.smallest().genes
    return Training(replace(variant(strategy, TRAIN), **changes), (genes,))  # type: ignore[arg-type]


def test_a_network_that_is_as_good_alone_has_no_gap_and_one_that_is_better_has_one() -> None:
    inside = np.array([[60.0, 70.0, 80.0], [61.0, 71.0, 81.0]])
    assert gaps(inside, inside, inside[:, [0, 2]] + 3, [0, 2]) == {
        "gap_equal_steps": 0.0,
        "gap_equal_steps_spread": 0.0,
        "gap_equal_images": 3.0,
    }
    better_alone = inside + np.array([[1.0], [3.0]])
    assert gaps(inside, better_alone, inside[:, []], [])["gap_equal_steps"] == 2.0


def test_the_interval_of_tau_holds_tau_and_narrows_with_more_subnets() -> None:
    rng = np.random.default_rng(0)

    def found(count: int) -> dict[str, float]:
        alone = np.linspace(0, 10, count)[None].repeat(2, 0)
        return ranked(alone + rng.normal(scale=1.5, size=alone.shape), alone)

    few, many = found(12), found(48)
    for figures in (few, many):
        assert figures["tau_low"] < figures["tau"] < figures["tau_high"]
    assert many["tau_high"] - many["tau_low"] < few["tau_high"] - few["tau_low"]


def test_tau_is_one_minus_two_for_each_pair_in_the_wrong_order() -> None:
    alone = np.arange(4.0)[None]
    assert tau(alone, alone) == 1
    assert tau(np.array([[1.0, 0.0, 2.0, 3.0]]), alone) == pytest.approx(1 - 2 / 6)
    assert ranked(np.ones((1, 4)), alone) == {}  # equal answers rank nothing


def test_tau_is_that_of_scipy_with_ties_too() -> None:
    a, b = np.random.default_rng(0).integers(5, size=(2, 12)).astype(float)
    assert kendall(a, b) == pytest.approx(kendalltau(a, b).statistic)


def test_the_time_of_an_interrupted_training_is_not_known() -> None:
    whole, parts = Outcome((1.0,), 1.0, 6.0), Outcome((1.0,), 1.0, None)
    assert seconds_ratio([whole, whole], [Outcome((1.0,), 1.0, 3.0)] * 2) == {"seconds_ratio": 2.0}
    assert seconds_ratio([whole, parts], [whole, whole]) == {}


@pytest.mark.parametrize(
    ("strategy", "batches"),
    [("sandwich/between=1/distil_weight=0", 3), ("multi", 1)],
)
def test_what_the_lessons_of_a_step_see_is_counted(
    bench: Bench, tmp_path: Path, strategy: str, batches: float
) -> None:
    training = _training(bench, strategy, epochs=1)
    assert bench.outcome(training, tmp_path).batches == pytest.approx(batches)


def test_an_option_of_a_variant_is_one_of_its_strategy_or_of_the_training() -> None:
    found = variant("shrinking/epochs=[3, 1]/phases=['largest', 'depth']/lr=0.2", replace(TRAIN, epochs=4))
    assert (found.epochs, found.lr, found.strategy_options["epochs"]) == (4, 0.2, [3, 1])
    with pytest.raises(ConfigError, match=r"unknown key .*betwen"):
        variant("sandwich/betwen=1", TRAIN)
    with pytest.raises(SupernetError, match="did you mean 'sandwich'"):
        variant("sandwhich", TRAIN)


def test_a_training_is_done_once_and_a_killed_one_goes_on(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = _training(bench, "shift")
    whole, again = outcomes(bench, [training, training], tmp_path / "whole")
    assert whole is again
    run = Trainer.run

    def killed(self: Trainer, progress: object = None) -> object:
        def stop(done: int, total: int, words: str) -> None:
            if done == total - 1:
                raise KeyboardInterrupt

        return run(self, stop)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "run", killed)
        bench.outcome(training, tmp_path / "parts")
    parts = bench.outcome(training, tmp_path / "parts")
    assert parts == replace(whole, seconds=None)
    monkeypatch.setattr(Trainer, "run", killed)
    assert bench.outcome(training, tmp_path / "whole") == whole
    assert [entry.suffix for entry in (tmp_path / "whole").iterdir() if entry.is_file()] == [".json"]


def test_another_seed_data_or_recipe_is_another_training(bench: Bench) -> None:
    training = _training(bench, "sandwich")
    fewer = Bench(replace(bench.setup, images_per_class=10))
    others = [
        _training(bench, "sandwich", seed=1), _training(bench, "sandwich", lr=0.1), _training(bench, "fair"),
        replace(training, judged=(bench.supernet(0).space.largest().genes,)),
    ]  # fmt: skip
    keys = {bench.key(each) for each in (training, *others)} | {fewer.key(training)}
    assert len(keys) == 6
    assert bench.key(replace(training, options=replace(training.options, threads=2))) in keys


def test_the_subnets_go_from_the_smallest_to_the_largest(bench: Bench) -> None:
    archs, macs = subnets(bench, 4)
    space = bench.supernet(0).space
    assert (archs[0], archs[-1]) == (space.smallest(), space.largest())
    assert macs == sorted(macs) and len(set(macs)) == 4


def test_few_images_are_as_many_of_each_class_and_the_same_ones() -> None:
    whole = load_data(DIGITS)
    few = few_images(whole, 7)
    assert isinstance(few, ImageDataset)
    assert few.train.labels.bincount().tolist() == [7] * 10
    assert few.train.images.equal(few_images(whole, 7).train.images)  # type: ignore[attr-defined]
    assert few.test is whole.test and few_images(whole, None) is whole  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="no images of classes to take 7 of"):
        few_images(SimpleNamespace(name="text"), 7)  # type: ignore[arg-type]


def test_a_count_travels_beside_what_the_strategy_itself_remembers(bench: Bench, tmp_path: Path) -> None:
    options = variant("shift", replace(TRAIN, epochs=1))
    plain = Trainer(bench.supernet(0), bench.data, options)
    counted = Trainer(bench.supernet(0), bench.data, options, strategy=Counted(plain.strategy))
    assert plain.run() == counted.run()
    assert counted.state["own"] == plain.state and counted.state["batches"] == plain.steps
