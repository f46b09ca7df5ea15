"""A pretrained network offers the cuts that are worth their price, unless it is told what to offer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from supernet.build import build
from supernet.heads import acquainted, warm_head
from supernet.offering import is_undecided, offer
from supernet.options import DataOptions, SupernetOptions, TrainOptions
from supernet.sensitivity import Cut, prices, worthwhile
from supernet.sources import load_data
from supernet.tasks.task import Dataset

TRAIN = TrainOptions(batch_size=64, calibration_examples=64)
WHOLE = Cut("", "", 1.0, 1.0, 1.0, 0.5, 0.0, 80.0, 0.0)


def cut(kind: str, lost: float, macs: float = 0.5) -> Cut:
    return replace(WHOLE, kind=kind, share=0.0, macs=macs, lost=lost)


def test_the_cheapest_kind_is_offered_and_others_only_where_it_leaves_networks_large() -> None:
    depth, hidden, kernel = cut("depth", 1.0), cut("hidden", 2.0), cut("kernel", 0.0, 1.0)
    assert worthwhile([WHOLE, hidden, depth, kernel]) == ["depth"]
    large = replace(depth, macs=0.7, lost=0.1)
    assert worthwhile([WHOLE, hidden, large, kernel]) == ["depth", "hidden"]
    assert worthwhile([WHOLE, kernel]) == []
    lucky = cut("kernel", -9.0, 0.95)
    assert worthwhile([WHOLE, lucky, hidden, depth]) == ["depth"], (
        "it saves too little to be worth training for"
    )
    assert worthwhile([WHOLE, lucky]) == ["kernel"]
    resolution = cut("resolution", 0.01)
    assert worthwhile([WHOLE, resolution, depth]) == ["depth"], (
        "a resolution is asked for by an option of its own"
    )


def test_a_kind_is_priced_by_the_line_nearest_to_all_its_cuts() -> None:
    saved, lost = np.array([0.25, 0.8]), np.array([-1.0, 8.0])
    slope, *_ = np.linalg.lstsq(saved[:, None], lost, rcond=None)
    depth = [cut("depth", *pair) for pair in zip(lost.tolist(), (1 - saved).tolist())]
    found = prices([WHOLE, *depth, cut("hidden", 3.0, 0.7), cut("kernel", 9.0, 1.0)])
    assert found == pytest.approx({"depth": float(slope[0]), "hidden": 10.0, "kernel": float("inf")})


@pytest.mark.parametrize(
    ("options", "undecided"),
    [
        (SupernetOptions("lcnet_035", weights="w.pth"), True),
        (SupernetOptions("lcnet_035", {"pretrained": True}), True),
        (SupernetOptions("lcnet_035", weights="w.pth", offer="all"), False),
        (SupernetOptions("lcnet_035", {"dims": ["hidden"]}, "w.pth"), False),
        (SupernetOptions("lcnet_035"), False),
        (SupernetOptions("mobile", weights="w.pth"), False),
    ],
)
def test_a_study_decides_for_pretrained_networks_of_which_nothing_is_said(
    options: SupernetOptions, undecided: bool
) -> None:
    assert is_undecided(options) is undecided


@pytest.fixture(scope="module")
def enlarged() -> Dataset:
    return load_data(DataOptions("digits", resolution=32))


@pytest.fixture
def pretrained(tmp_path: Path) -> SupernetOptions:
    path = tmp_path / "weights.pth"
    torch.manual_seed(0)
    torch.save(timm.create_model("lcnet_035", num_classes=7, in_chans=1).state_dict(), path)
    return SupernetOptions("lcnet_035", weights=str(path))


def test_the_supernet_offers_what_the_study_chose_and_nothing_else(
    pretrained: SupernetOptions, enlarged: Dataset
) -> None:
    found = offer(pretrained, enlarged, TRAIN)
    assert set(found.dims) == set(worthwhile(list(found.cuts)))
    assert not any(one.choice for one in found.cuts)
    plan = build(found.applied(pretrained), enlarged.task).plan
    kinds = {dim.kind for name, dim in plan.dims.items() if len(set(dim.table.flatten().tolist())) > 1}
    assert kinds - {"squeeze", "present"} == set(found.dims) - {"depth"}


def test_an_acquaintance_leaves_the_network_as_it_was(pretrained: SupernetOptions, enlarged: Dataset) -> None:
    net = build(pretrained, enlarged.task)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with acquainted(net, enlarged, TRAIN):
        meanwhile = {name: value.clone() for name, value in net.state_dict().items()}
    changed = {name for name, value in before.items() if not torch.equal(value, meanwhile[name])}
    assert all(name.endswith(("running_mean", "running_var")) or "classifier" in name for name in changed)
    assert {name.rpartition(".")[2] for name in changed} == {"running_mean", "running_var", "weight", "bias"}
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())


def test_a_head_learns_on_features_of_these_data(pretrained: SupernetOptions, enlarged: Dataset) -> None:
    net = build(pretrained, enlarged.task)
    assert not net.largest.get_classifier().weight.any()
    assert warm_head(net, enlarged, TRAIN)
    assert net.largest.get_classifier().weight.any()
