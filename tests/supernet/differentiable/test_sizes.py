"""Relaxed widths and kernels: exact for one value, and as the formulas of Single-Path NAS and TAS say for others."""

from __future__ import annotations

from copy import deepcopy
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from supernet.differentiable import methods
from supernet.differentiable.single_path_nas import used
from supernet.elastic.blending import stretched
from supernet.elastic.expectation import ExpectedCost
from supernet.elastic.relaxation import Relaxation
from supernet.errors import ArchitectureError, ConfigError
from tests.supernet.differentiable.sizes import SPACE, sized

VALUES = [(4, 8, 3, 1), (6, 12, 5, 3), (8, 16, 3, 1), (4, 16, 5, 3), (8, 16, 5, 3)]


@pytest.fixture
def net() -> Any:
    return sized().double()


def images() -> Tensor:
    return torch.randn(4, 3, 7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def hot(arch: Any) -> dict[str, Tensor]:
    return {
        choice.name: torch.eye(len(choice.values), dtype=torch.float64)[gene]
        for choice, gene in zip(SPACE.choices, arch.genes)
    }


def soft(seed: int = 1) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {
        choice.name: torch.randn(len(choice.values), generator=rng, dtype=torch.float64).softmax(0)
        for choice in SPACE.choices
    }


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("training", [True, False])
def test_weights_of_one_value_are_the_architecture(net: Any, values: Any, training: bool) -> None:
    arch = SPACE.encode(dict(zip(("width", "expand", "kernel", "depth"), values)))
    net.train(training)
    expected = net(images(), arch)
    for blend, only_active in product(("masked", "interpolated"), (True, False)):
        ours = net(images(), Relaxation(hot(arch), arch, only_active, blend))  # type: ignore[arg-type]
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    assert net.relaxable.leaning(Relaxation(hot(arch), SPACE.largest())) == arch


def test_a_mask_weighs_every_entry_by_the_values_that_hold_it(net: Any) -> None:
    weights, plain = {**soft(), "depth": hot(SPACE.largest())["depth"]}, deepcopy(net.largest).train()
    ours = net.train()(images(), Relaxation(weights, SPACE.smallest()))
    inner = torch.zeros(5, 5, dtype=torch.float64)
    inner[1:4, 1:4] = 1
    with torch.no_grad():
        plain.dw.weight.mul_(inner * weights["kernel"][0] + weights["kernel"][1])
        for layer, name, each in ((plain.pw, "width", (4, 2, 2)), (plain.pwl, "expand", (8, 4, 4))):
            reach = weights[name].flip(0).cumsum(0).flip(0)
            layer.weight.mul_(reach.repeat_interleave(torch.tensor(each))[:, None, None])
    torch.testing.assert_close(ours, plain(images()), rtol=1e-12, atol=1e-12)


def test_interpolation_sums_the_stretched_answers_of_the_widths(net: Any) -> None:
    net.eval()
    weights = hot(SPACE.largest()) | {"width": torch.tensor([0.3, 0.7, 0.0], dtype=torch.float64)}
    ours = net(images(), Relaxation(weights, SPACE.largest(), blend="interpolated"))
    network = net.largest
    answers = network.stem(images())
    mixed = 0.7 * answers[:, :6]
    lines = answers[:, :4].flatten(2).transpose(1, 2)
    mixed = mixed + 0.3 * F.adaptive_avg_pool1d(lines, 6).transpose(1, 2).reshape(mixed.shape)
    six = (
        network.bn0.running_mean[:6],
        network.bn0.running_var[:6],
        network.bn0.weight[:6],
        network.bn0.bias[:6],
    )
    x = F.conv2d(F.batch_norm(mixed, *six), network.pw.weight[:, :6])
    torch.testing.assert_close(ours, network[3:](x), rtol=1e-12, atol=1e-12)
    assert stretched(answers, len(answers)) is answers


def test_a_relaxed_depth_sums_what_there_is_after_each_number_of_blocks(net: Any) -> None:
    net.eval()
    weights = torch.tensor([0.25, 0.75], dtype=torch.float64)
    ours = net(images(), Relaxation({"depth": weights}, SPACE.largest()))
    network = net.largest
    states = [network[: list(network._modules).index("stage")](images())]
    for block in network.stage:
        states.append(block(states[-1]))
    theirs = network.classifier((0.25 * states[1] + 0.75 * states[3]).mean((2, 3)))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    cut = net.extract(SPACE.encode({"width": 8, "expand": 16, "kernel": 5, "depth": 1}))
    assert len(cut.stage) == 1
    assert type(cut.stage) is torch.nn.Sequential


def test_the_expected_cost_is_the_mean_over_all_sizes(net: Any) -> None:
    weights, costs = soft(), net.costs((1, 3, 7, 7))
    archs = [SPACE.architecture(genes) for genes in product(*(range(len(c.values)) for c in SPACE.choices))]
    p = np.array([prod(float(weights[c.name][g]) for c, g in zip(SPACE.choices, a.genes)) for a in archs])
    genes = SPACE.matrix(archs)
    for what, counts in (("macs", costs.macs(genes)), ("params", costs.params(genes))):
        expected = ExpectedCost(net.relaxable, costs, SPACE.largest(), what)  # type: ignore[arg-type]
        assert float(expected(Relaxation(weights, SPACE.largest()))) == pytest.approx(p @ counts, rel=1e-12)
        some = Relaxation({"width": weights["width"]}, archs[0])
        narrow = [a for a in archs if a.genes[1:] == archs[0].genes[1:]]
        alone = {"macs": costs.macs, "params": costs.params}[what](SPACE.matrix(narrow))
        assert float(expected(some)) == pytest.approx(weights["width"].numpy() @ alone, rel=1e-12)


def test_a_shell_is_used_when_its_norm_is_above_the_threshold(net: Any) -> None:
    weight = net.largest.dw.weight
    shell = weight.square().sum() - weight[..., 1:4, 1:4].square().sum()
    torch.testing.assert_close(net.relaxable.blending.shells("kernel"), shell[None])
    columns = net.largest.pwl.weight.square().sum((0, 2, 3))
    torch.testing.assert_close(
        net.relaxable.blending.shells("expand"), torch.stack([columns[8:12].sum(), columns[12:].sum()])
    )
    method = methods["single_path_nas"]()
    names = method.initial(net.relaxable, torch.Generator())
    norms = {name: net.relaxable.blending.shells(name).detach() for name in names}

    def at(factor: float) -> Any:
        thresholds = {name: (own * factor).requires_grad_() for name, own in norms.items()}
        return thresholds, method.relaxation(net.relaxable, thresholds, SPACE.largest())

    assert net.relaxable.leaning(at(1.01)[1]) == SPACE.encode(
        {"width": 4, "expand": 8, "kernel": 3, "depth": 3}
    )
    thresholds, relaxation = at(0.99)
    assert net.relaxable.leaning(relaxation) == SPACE.largest()
    net.train()(images(), relaxation).square().sum().backward()
    assert all(one.grad.any() for one in thresholds.values())


def test_a_value_needs_all_shells_before_it_and_steps_have_the_gradient_of_sigmoids() -> None:
    norms = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)
    thresholds = torch.tensor([0.5, 4.0, 1.0], dtype=torch.float64, requires_grad=True)
    weights = used(norms, thresholds)
    assert weights.tolist() == [0, 1, 0, 0]
    # Of the sum of all weights but the first, which is the first step.
    (slope,) = torch.autograd.grad(weights[1:].sum(), thresholds)
    sigmoid = torch.sigmoid(norms[0] - 0.5)
    torch.testing.assert_close(slope, torch.stack([-sigmoid * (1 - sigmoid), *torch.zeros(2).double()]))


def test_tas_draws_two_values_whose_weights_sum_to_one(net: Any) -> None:
    torch.manual_seed(0)
    method, logits = methods["tas"](), torch.zeros(3, dtype=torch.float64, requires_grad=True)
    draws = torch.stack([method.draw(logits) for _ in range(300)])
    assert bool(((draws > 0).sum(1) == 2).all())
    torch.testing.assert_close(draws.sum(1), torch.ones(300, dtype=torch.float64))
    assert ((draws > 0).double().mean(0) - 2 / 3).abs().max() < 0.1
    given = {
        name: one.double().requires_grad_()
        for name, one in method.initial(net.relaxable, torch.Generator()).items()
    }
    net.train()(images(), method.relaxation(net.relaxable, given, SPACE.largest())).square().sum().backward()
    assert all(one.grad is not None and bool(one.grad.any()) for one in given.values())
    cost = torch.tensor(0.6, dtype=torch.float64)
    assert float(method.burden(cost, {})) == pytest.approx(2 * np.log(0.6))
    assert float(method.burden(cost * 0.5, {})) == pytest.approx(-2 * np.log(0.3))
    assert float(method.burden(torch.tensor(0.51), {})) == 0


def test_what_can_not_be_is_refused(net: Any) -> None:
    with pytest.raises(ArchitectureError, match=r"'widht' can not be relaxed; did you mean 'width'"):
        net(images(), Relaxation({"widht": torch.ones(3)}, SPACE.largest()))
    with pytest.raises(ArchitectureError, match=r"shape \(2,\); it has one for each of \(4, 6, 8\)"):
        net(images(), Relaxation({"width": torch.ones(2)}, SPACE.largest()))
    with pytest.raises(ConfigError, match="above 0"):
        methods["tas"](target=0.0)
