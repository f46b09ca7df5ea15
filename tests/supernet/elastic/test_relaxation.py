"""Relaxations of any space of candidates: mixtures, what a zero costs and what its gradient is."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet.differentiable.method import hard
from supernet.elastic.mixing import mixed
from supernet.elastic.relaxation import Relaxation
from supernet.elastic.supernet import Supernet
from supernet.errors import ArchitectureError
from supernet.presets import SPOS, MixPath, ProxylessNAS
from supernet.presets.candidates import OneOf
from supernet.presets.plan_builder import PlanBuilder
from supernet.reversible import ReversibleStage
from supernet.space import Choice, SearchSpace

SMALL: list[Callable[[], Any]] = [
    lambda: SPOS(repeats=(1, 1), widths=(32, 64), classes=4, affine=True, scales=(0.5, 1.0), dropout=0.0),
    lambda: ProxylessNAS(
        widths=(8,), cells=(2,), strides=(2,), kernels=(3, 5), classes=4, stem=8, first=8, features=16
    ),
]


def softened(supernet: Supernet) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(len(members), generator=rng, dtype=torch.float64).softmax(0).requires_grad_()
        for name, members in supernet.relaxable.members.items()
    }


def images() -> Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def near(ours: Tensor, expected: Tensor) -> bool:
    return bool((ours - expected).norm() <= 1e-12 * expected.norm())


@pytest.mark.parametrize("make", SMALL)
def test_candidates_of_other_presets_are_relaxed_too(make: Callable[[], Any]) -> None:
    preset = make()
    supernet = preset.supernet().double().eval()
    assert supernet.relaxable.members
    for seed in range(3):
        arch = preset.space.sample(Random(seed))
        with torch.no_grad():
            relaxation = supernet.relaxable.one_hot(arch, images())
            assert near(supernet(images(), relaxation), supernet(images(), arch))
        assert supernet.relaxable.leaning(relaxation) == arch


def test_what_a_block_may_leave_out_weighs_the_input() -> None:
    preset = SMALL[1]()
    supernet = preset.supernet().double().eval()
    weights = softened(supernet)
    block = supernet.largest.get_submodule("blocks.1.1")
    own = weights["blocks.1.1"]
    names = list(preset.space["blocks.1.1"].values)
    x = torch.randn(2, 8, 4, 4, dtype=torch.float64)
    seen: list[Tensor] = []
    subnet = supernet.subnet(Relaxation(weights, preset.space.largest()))
    subnet.network.get_submodule("blocks.1.1").register_forward_hook(lambda m, args, out: seen.append(out))
    subnet.network.get_submodule("blocks.1.1").register_forward_pre_hook(lambda m, args: (x,))
    with torch.no_grad():
        subnet(images())
        answers = dict(zip(preset.candidates, (child(x) for child in block.children())))
        expected = sum(own[i] * answers.get(str(name), x) for i, name in enumerate(names))
    assert near(seen[0], expected)


def test_a_candidate_of_weight_zero_does_not_run_and_still_has_its_gradient() -> None:
    calls: list[int] = []

    class Candidate(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(torch.is_grad_enabled())
            return super().forward(x).tanh()

    torch.manual_seed(0)
    candidates = [Candidate(3, 3).double() for _ in range(3)]
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    out = mixed(weights, [(one, x) for one in candidates])
    assert calls == [True]
    learning = (weights, x, candidates[1].weight)
    ours = torch.autograd.grad(out.square().sum(), learning)
    assert calls == [True, False, False]
    whole = sum(w * one(x) for w, one in zip(weights, candidates))
    theirs = torch.autograd.grad(whole.square().sum(), learning)
    assert all(near(a, b) for a, b in zip(ours, theirs))


@pytest.mark.parametrize("weights", [(0.0, 1.0, 0.0), (0.0, 0.0, 0.0)])
def test_what_is_only_asked_moves_no_statistics(weights: tuple[float, ...]) -> None:
    paths = [nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)).double() for _ in range(3)]
    own = torch.tensor(weights, dtype=torch.float64, requires_grad=True)
    x, slope = torch.randn(2, 4, 2, 3, 3, dtype=torch.float64)
    (ours,) = torch.autograd.grad((mixed(own, [(path, x) for path in paths]) * slope).sum(), own)
    for weight, path in zip(weights, paths):
        assert path[1].num_batches_tracked == (weight > 0)
        assert bool(path[1].running_mean.any()) == (weight > 0)
    whole = sum(weight * path(x) for weight, path in zip(own, paths))
    (theirs,) = torch.autograd.grad((whole * slope).sum(), own)
    assert near(ours, theirs)


def test_what_is_asked_must_not_have_changed_since() -> None:
    paths = [nn.Linear(2, 2).double() for _ in range(2)]
    own = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    loss = mixed(own, [(path, torch.ones(1, 2, dtype=torch.float64)) for path in paths]).sum()
    with torch.no_grad():
        paths[1].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_what_is_asked_after_the_forward_pass_is_cast_as_in_it() -> None:
    torch.manual_seed(0)
    paths = [nn.Linear(2, 2) for _ in range(2)]
    x, found = torch.randn(3, 2), []
    for weights in ([1.0, 0.0], [1.0, 1e-30]):
        own = torch.tensor(weights, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            loss = mixed(own, [(path, nn.functional.linear(x, torch.eye(2))) for path in paths]).sum()
        found.append(torch.autograd.grad(loss, own)[0])
    assert torch.equal(*found)


def test_a_mixture_has_exact_second_derivatives() -> None:
    x = torch.randn(2, 3, dtype=torch.float64)
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
    candidates = [nn.Sequential(nn.Linear(3, 3), nn.Tanh()).double() for _ in range(2)]
    inputs = (weights, candidates[0].get_parameter("0.weight"))

    def run(weights: Tensor, weight: Tensor) -> Tensor:
        return mixed(weights, [(one, x) for one in candidates]).square()

    assert torch.autograd.gradgradcheck(run, inputs)


def test_only_active_leaves_the_others_out_and_their_weights_without_a_gradient() -> None:
    preset = SMALL[1]()
    supernet = preset.supernet().double().train()
    arch = preset.space.largest()
    hot = supernet.relaxable.one_hot(arch, images()).weights
    weights = {name: one.clone().requires_grad_() for name, one in hot.items()}
    answer = supernet(images(), Relaxation(weights, arch, only_active=True))
    answer.square().sum().backward()
    assert all(bool(((one.grad != 0) == (one != 0)).all()) for one in weights.values())
    without = [n for n, p in supernet.largest.named_parameters() if p.grad is None]
    assert {n.split(".")[3] for n in without if n.startswith("blocks.1.1.")} == {"0", "1", "2"}


def test_weights_that_fit_no_choice_are_refused() -> None:
    preset = SMALL[1]()
    supernet = preset.supernet()
    largest = preset.space.largest()
    with pytest.raises(ArchitectureError, match=r"'blocks\.1\.7' can not be relaxed"):
        supernet(images().float(), Relaxation({"blocks.1.7": torch.ones(2)}, largest))
    with pytest.raises(ArchitectureError, match=r"'blocks\.1\.0' was given weights of shape \(2,\)"):
        supernet(images().float(), Relaxation({"blocks.1.0": torch.ones(2)}, largest))


def test_sums_of_several_paths_are_no_mixture() -> None:
    supernet = MixPath(classes=4).supernet()
    assert set(supernet.relaxable.members) == {f"blocks.{i}.expand" for i in range(12)}


def test_the_shared_network_never_holds_a_weight() -> None:
    preset = SMALL[0]()
    supernet = preset.supernet().double()
    before = set(supernet.state_dict())
    supernet(images(), Relaxation(softened(supernet), preset.space.largest())).sum().backward()
    assert set(supernet.state_dict()) == before
    assert all(module._buffers.get("mixture") is None for module in supernet.largest.modules())


class Reversed(nn.Module):
    def __init__(self, stage: ReversibleStage) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self.stage(*x.chunk(2, 1)), 1)


@pytest.mark.parametrize("only", [None, 1])
def test_a_mixture_inside_a_reversible_stage_has_the_gradients_of_the_plain_one(only: int | None) -> None:
    torch.manual_seed(0)
    kernels = (1, 3, 5)
    choices = [Choice(f"{i}", kernels) for i in range(4)]
    branches = [OneOf(*(nn.Conv2d(3, 3, k, padding=k // 2) for k in kernels)) for _ in choices]
    network = Reversed(ReversibleStage.of([branches[:2], branches[2:]])).double()
    wiring = PlanBuilder(network, SearchSpace(tuple(choices)))
    for i, choice in enumerate(choices):
        wiring.one_of(f"stage.couplings.{i}.branch", choice.name, kernels)
    supernet = Supernet(network, wiring.plan())
    logits = {c.name: torch.randn(3, dtype=torch.float64, requires_grad=True) for c in choices}
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64, requires_grad=True)
    found = []
    for execution in ("plain", "reversible"):
        weights = {
            n: one.softmax(0) if only is None else hard(one.softmax(0), only) for n, one in logits.items()
        }
        subnet = supernet.subnet(Relaxation(weights, supernet.space.largest()), execution=execution)
        learning = [x, *logits.values(), *supernet.parameters()]
        answer = subnet(x).square().sum()
        found.append(torch.autograd.grad(answer, learning, allow_unused=True))
    assert all((a is None and b is None) or near(a, b) for a, b in zip(*found))
