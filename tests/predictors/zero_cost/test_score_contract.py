"""What every registered zero-cost score promises."""

from __future__ import annotations

from math import isfinite
from random import Random

import pytest
import torch

from predictors.zero_cost import scores, zero_cost
from predictors.zero_cost.candidate import ScoreError
from supernet.errors import SupernetError
from tests.predictors.zero_cost.networks import batch_for, made, task_for

SILENT = {
    "cnn": {"hidden_covariance"},
    "vit": {"zen"},
    "decoder": {"jacobian", "zen", "naswot"},
    "rnn": {"jacobian", "zen", "naswot"},
}
"""What says nothing of which network."""
SAID = {
    "jacobian": "whole numbers",
    "zen": "batch norms",
    "naswot": "switch",
    "hidden_covariance": "attention",
}


def asked(score: str, network: str, examples: int = 6, seed: int = 0, arch: str = "sample") -> float:
    space, draw = made(network).space, Random(3)
    subnet = made(network).subnet(space.sample(draw) if arch == "sample" else getattr(space, arch)())
    return zero_cost(score, subnet, batch_for(network, examples), task_for(network), seed=seed)


TRACED = {("macs", "vit"), ("macs", "decoder"), ("macs", "rnn")}
"""What takes seconds, as costs have to be traced first; the convolutions stand for them."""
CASES = [
    pytest.param(score, network, marks=[pytest.mark.slow] if (score, network) in TRACED else [])
    for network in SILENT
    for score in scores
]


@pytest.mark.parametrize(("score", "network"), CASES)
def test_it_is_a_number_or_the_reason_why_not_and_leaves_no_trace(score: str, network: str) -> None:
    supernet = made(network)
    for each in supernet.parameters():
        each.grad = torch.full_like(each, 0.5)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    dice = torch.random.get_rng_state()
    if score in SILENT[network]:
        with pytest.raises(ScoreError, match=SAID[score]):
            asked(score, network)
    else:
        found = asked(score, network)
        assert isfinite(found)
        assert found == asked(score, network)
    assert torch.equal(torch.random.get_rng_state(), dice)
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(bool((each.grad == 0.5).all()) for each in supernet.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in supernet.modules())


@pytest.mark.parametrize("score", [name for name in scores if name not in SILENT["cnn"]])
def test_it_tells_two_networks_apart(score: str) -> None:
    assert asked(score, "cnn", arch="largest") != asked(score, "cnn", arch="smallest")


@pytest.mark.parametrize("score", ["jacobian", "zico"])
def test_too_few_examples_are_refused(score: str) -> None:
    with pytest.raises(ScoreError, match="give"):
        asked(score, "vit", examples=1)


def test_a_score_nobody_registered_is_answered_with_the_nearest() -> None:
    with pytest.raises(SupernetError, match="did you mean 'snip'"):
        asked("snips", "cnn")


def test_a_network_without_signal_is_refused() -> None:
    supernet = made("vit").following(made("vit").plan)
    with torch.no_grad():
        for each in supernet.parameters():
            each.zero_()
    subnet = supernet.subnet(supernet.space.largest())
    for score in ("synflow", "jacobian"):
        with pytest.raises(ScoreError):
            zero_cost(score, subnet, batch_for("vit"), task_for("vit"))
