"""A study cuts one thing at a time, and its figures are those of the cut networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from supernet.build import build
from supernet.data import ImageDataset
from supernet.elastic.supernet import Supernet
from supernet.errors import SpaceError
from supernet.evaluate import Evaluator
from supernet.heads import warm_head
from supernet.options import SupernetOptions, TrainOptions
from supernet.sensitivity import Cut, kinds_of, prices, sensitivity

MOBILE = {"widths": [8, 8, 12], "depths": [1, 2], "features": 32}


@pytest.fixture(scope="module")
def net(digits: ImageDataset) -> Supernet:
    return build(SupernetOptions("mobile", dict(MOBILE)), digits.task).eval()


@pytest.fixture(scope="module")
def evaluator(net: Supernet, digits: ImageDataset) -> Evaluator:
    return Evaluator(net, digits, examples=32, calibration_examples=32)


@pytest.fixture(scope="module")
def cuts(evaluator: Evaluator) -> list[Cut]:
    return sensitivity(evaluator)


def test_every_choice_is_of_one_kind(net: Supernet) -> None:
    names = [name for names in kinds_of(net).values() for name in names]
    assert sorted(names) == sorted(choice.name for choice in net.space.choices)
    assert {"hidden", "depth", "kernel"} <= kinds_of(net).keys()


def test_the_figures_of_a_cut_are_those_of_the_network_cut_by_hand(
    net: Supernet, evaluator: Evaluator, cuts: list[Cut]
) -> None:
    kind = "kernel"
    genes = [
        0 if choice.name in kinds_of(net)[kind] else len(choice.values) - 1 for choice in net.space.choices
    ]
    arch = net.space.architecture(genes)
    (cut,) = (cut for cut in cuts if cut.kind == kind and not cut.choice and cut.share == 0)
    assert cut.loss == evaluator(arch)["log loss"]
    assert cut.worse == cut.loss - evaluator(net.space.largest())["log loss"]
    assert (cut.score, cut.lost) == (evaluator(arch).value, cuts[0].score - evaluator(arch).value)
    assert cut.params == net.costs().of(arch).params / net.costs().of(net.space.largest()).params


def test_each_kind_is_cut_to_each_of_its_sizes_and_each_choice_to_its_smallest(
    net: Supernet, cuts: list[Cut]
) -> None:
    assert (cuts[0].kind, cuts[0].macs, cuts[0].worse) == ("", 1.0, 0.0)
    for kind, names in kinds_of(net).items():
        rows = [cut for cut in cuts if cut.kind == kind and not cut.choice]
        assert len(rows) == max(len(net.space[name].values) for name in names) - 1
        assert [cut.macs for cut in rows] == sorted((cut.macs for cut in rows), reverse=True)
    assert {cut.choice for cut in cuts if cut.choice} == {choice.name for choice in net.space.choices}


def test_the_prices_begin_with_what_saves_most_for_what_it_costs() -> None:
    dear = Cut("residual", "", 0.5, 0.5, 0.5, 2.0, 1.0, 50.0, 9.0)
    cheap, alone = replace(dear, kind="depth", lost=1.0), replace(dear, choice="a.width", lost=-9.0)
    nothing = replace(dear, kind="squeeze", macs=1.0)
    assert list(prices([dear, nothing, cheap, alone])) == ["depth", "residual", "squeeze"]


def test_a_network_without_choices_is_refused(
    net: Supernet, evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(net.space), "__len__", lambda self: 0)
    with pytest.raises(SpaceError, match="single network"):
        sensitivity(evaluator)


def test_a_fresh_head_learns_and_nothing_before_it_changes(digits: ImageDataset) -> None:
    net = build(SupernetOptions("mobile", dict(MOBILE)), digits.task).eval()
    head = ["classifier.weight", "classifier.bias"]
    options = TrainOptions(calibration_examples=64)
    assert not warm_head(net, digits, options)
    net.origin = {**(net.origin or {}), "weights": {"fresh": head}}
    before = {name: value.clone() for name, value in net.largest.state_dict().items()}
    images, labels = digits.calibration_batches(64, 64, 0)[0]
    with torch.no_grad():
        loss = F.cross_entropy(net(images, net.space.largest()), labels)
    assert warm_head(net, digits, options)
    changed = {
        name for name, value in net.largest.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == set(head)
    with torch.no_grad():
        assert F.cross_entropy(net(images, net.space.largest()), labels) < loss
    assert np.isfinite(float(loss))
