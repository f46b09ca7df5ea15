"""Zero-cost scores of a run's networks, held against what its search found."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from typer.testing import CliRunner

from predictors.zero_cost import Combination, scores, zero_cost
from supernet.errors import ConfigError, SupernetError
from tests.tiny import tiny_supernet
from tests.zoo.road import Road, alone
from zoo.cli import app
from zoo.pipeline.scoring import ENOUGH, TOGETHER, _left_out, drawn_anew, score_networks
from zoo.pipeline.searching import evaluations

pytestmark = pytest.mark.xdist_group("road")


def test_scores_are_held_against_what_the_search_found(road: Road) -> None:
    run = str(road.folder)
    words = [word for name in ("macs", "snip", "hidden_covariance") for word in ("--score", name)]
    found = json.loads(alone("scores", "--run", run, "--count", "6", "--examples", "8", *words))
    assert len(found["networks"]) == 6 and set(found["scores"]) == {"macs", "snip"}
    assert "attention" in found["refused"]["hidden_covariance"]
    known = {each.arch.id: each for each in evaluations(road.workspace, [])}
    losses = [known[network].values["log loss"] for network in found["networks"]]
    assert losses == found["log loss"]
    for name, column in found["scores"].items():
        assert found["tau"][name] == pytest.approx(kendalltau(column, -np.array(losses)).statistic)
    workspace = road.workspace
    batch = workspace.dataset.calibration_batches(8, 8, 0)[0]
    subnet = workspace.net.subnet(known[found["networks"][0]].arch)
    assert zero_cost("snip", subnet, batch, workspace.dataset.task) == found["scores"]["snip"][0]


def test_without_enough_evaluations_networks_of_all_sizes_are_scored(road: Road) -> None:
    found = score_networks(road.workspace, ["macs"], count=60, examples=2)
    assert found.tau == {} and not found.quality
    assert max(found.values["macs"]) == road.workspace.costs.of(road.workspace.net.space.largest()).macs


@pytest.mark.parametrize(
    ("words", "answer"), [(["--score", "snips"], "did you mean 'snip'"), (["--count", "1"], "two")]
)
def test_what_cannot_be_scored_is_said_before_anything_is(words: list[str], answer: str, road: Road) -> None:
    result = CliRunner().invoke(app, ["scores", "--run", str(road.folder), *words])
    assert isinstance(result.exception, SupernetError) and answer in str(result.exception)


def test_fresh_weights_are_drawn_by_the_seed_and_those_of_the_run_stay() -> None:
    net = tiny_supernet()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    first, again, other = (drawn_anew(net, seed).state_dict() for seed in (0, 0, 1))
    weight = next(name for name in before if name.endswith("conv_pwl.weight"))
    assert torch.equal(first[weight], again[weight]) and not torch.equal(first[weight], other[weight])
    assert not torch.equal(first[weight], before[weight])
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_the_combination_is_judged_on_networks_it_has_not_seen() -> None:
    rng = np.random.default_rng(0)
    noise, better = rng.normal(size=(ENOUGH, 6)), rng.normal(size=ENOUGH)
    by_heart = Combination().fit(noise, better).predict(noise)
    assert kendalltau(by_heart, better).statistic > 0.6
    assert abs(kendalltau(_left_out(noise, better), better).statistic) < 0.45
    assert TOGETHER not in scores


def test_a_single_example_is_refused(road: Road) -> None:
    with pytest.raises(ConfigError, match="two or more"):
        score_networks(road.workspace, ["macs"], examples=1)
