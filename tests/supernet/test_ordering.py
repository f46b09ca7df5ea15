"""Units are sorted once, before the first step, and the record says so."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

import supernet.ordering as ordering
from supernet.build import build
from supernet.checkpoint import read_document
from supernet.data import ImageDataset
from supernet.elastic.supernet import Supernet
from supernet.errors import StateError
from supernet.heads import take_statistics, warm_head
from supernet.options import SupernetOptions, TrainOptions
from supernet.ordering import order_units
from supernet.presets.mobile import Mobile
from supernet.trainer import CHECKPOINT, Trainer
from tests.supernet.strategies.course import few_images, small_supernet

OPTIONS = TrainOptions(epochs=1, batch_size=512, checkpoint_seconds=0.0, calibration_examples=64)
MOBILE = {"widths": [8, 8, 12], "depths": [1, 2], "features": 32}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    network = Mobile(
        channels=1, resolution=8, widths=(8, 8, 12), depths=(1, 2), features=32, seed=1
    ).network()
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def made(digits: ImageDataset, weights: Path) -> Callable[..., Supernet]:
    def make(path: Path | None = weights) -> Supernet:
        return deepcopy(_built(digits, path and str(path)))

    return make


@cache
def _built(digits: ImageDataset, path: str | None) -> Supernet:
    return build(SupernetOptions("mobile", dict(MOBILE), path), digits.task)


def stop_at(step: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, words: str) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


def test_pretrained_units_are_sorted_and_the_largest_stays_the_same_function(
    made: Callable[..., Supernet], digits: ImageDataset
) -> None:
    net, (images, _) = made(), digits.batch(0, 8, 0)
    largest, smallest = net.space.largest(), net.space.smallest()
    before, small = net(images, largest), net(images, smallest)
    assert order_units(net, digits, OPTIONS) == {"by": "taylor", "examples": 64}
    torch.testing.assert_close(net(images, largest), before)
    assert not torch.allclose(net(images, smallest), small)
    assert net.origin is not None
    assert net.origin["reordered"] == {"by": "taylor", "examples": 64}


def test_fresh_weights_stay_in_their_order_unless_asked(
    made: Callable[..., Supernet], digits: ImageDataset
) -> None:
    assert order_units(made(None), digits, OPTIONS) == {}
    assert order_units(made(None), digits, replace(OPTIONS, reorder="l1")) == {"by": "l1", "examples": 0}
    assert order_units(made(), digits, replace(OPTIONS, reorder="none")) == {}


def test_the_order_comes_from_a_head_that_has_learnt_and_the_head_stays_as_fresh_as_it_was() -> None:
    fresh = {"weights": {"sha256": "0", "fresh": ["head.weight", "head.bias"]}}
    (net, warm, cold), data = (small_supernet() for _ in range(3)), few_images()
    images, _ = data.batch(0, 8, 0)
    before = net(images, net.space.largest())
    warm.origin = net.origin = fresh
    take_statistics(warm, data, OPTIONS)
    assert warm_head(warm, data, OPTIONS)
    warm.origin = {}
    for some in (net, warm, cold):
        order_units(some, data, replace(OPTIONS, reorder="taylor"))
    torch.testing.assert_close(net(images, net.space.largest()), before)
    ours, learnt, blind = (some.largest.two.weight for some in (net, warm, cold))
    assert torch.equal(ours, learnt) and not torch.equal(ours, blind)
    assert net.plan.layouts["head.weight"][1] is not None, "its columns move with the units before it"


def test_a_resumed_run_does_not_sort_again_and_ends_at_the_same_bytes(
    made: Callable[..., Supernet], digits: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Trainer(made(), digits, OPTIONS, tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        Trainer(made(), digits, OPTIONS, tmp_path / "parts").run(stop_at(1))
    monkeypatch.setattr(ordering, "sort_units", lambda *_, **__: pytest.fail("sorted again"))
    resumed = Trainer(made(), digits, OPTIONS, tmp_path / "parts")
    resumed.run()
    whole, parts = ((tmp_path / name / CHECKPOINT) for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    assert read_document(parts)["reordered"] == {"by": "taylor", "examples": 64}
    assert resumed.supernet.origin is not None
    assert resumed.supernet.origin["reordered"]["by"] == "taylor"


def test_a_run_is_not_continued_from_other_weights(
    made: Callable[..., Supernet], digits: ImageDataset, weights: Path, tmp_path: Path
) -> None:
    Trainer(made(), digits, OPTIONS, tmp_path / "run").run()
    other = tmp_path / weights.name
    tensors = torch.load(weights, weights_only=True)
    torch.save({name: value + 1 for name, value in tensors.items()}, other)
    with pytest.raises(StateError, match="its weights is"):
        Trainer(made(other), digits, OPTIONS, tmp_path / "run")
