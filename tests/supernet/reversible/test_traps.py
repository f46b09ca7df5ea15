"""What other reversible and recomputing libraries get wrong: each row of that list is a test."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.errors import SpaceError, SupernetError
from supernet.reversible import ReversibleStage
from tests.supernet.reversible.branches import (
    CHANNELS,
    SIDE,
    conv_branch,
    loss_of,
    stage_of,
    step,
    streams,
    worst,
)

EXACT = 1e-12


def both(stage: nn.Module, **words: Any) -> float:
    """The worst error between the two roads."""
    x = words.pop("given", None) or streams()
    return worst(step(stage, x, free=False, **words), step(stage, x, free=True, **words))


def free_stage(**words: Any) -> ReversibleStage:
    stage = stage_of(**words)
    stage.memory_free = True
    return stage


def test_statistics_of_batches_move_once() -> None:
    stage = stage_of()
    plain, free = step(stage, streams(), free=False), step(stage, streams(), free=True)
    assert worst(plain, free) < EXACT  # which compares the buffers bit by bit
    assert {int(b) for name, b in free.buffers.items() if name.endswith("num_batches_tracked")} == {1}


def test_dropout_draws_the_same_again_and_leaves_the_generator_as_it_was() -> None:
    stage = stage_of(branch=lambda: conv_branch(drop=0.2))
    plain, free = step(stage, streams(), free=False), step(stage, streams(), free=True)
    assert worst(plain, free) < EXACT  # which compares the states of the generator
    torch.manual_seed(7)
    assert not torch.equal(free.generator, torch.get_rng_state())


class Choosy(nn.Module):
    """Two candidates, of which an attribute says the one that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.candidates = nn.ModuleList([conv_branch(kernel=3), conv_branch(kernel=5)])
        self.active = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.candidates[self.active](x)


def test_a_parameter_that_is_not_used_gets_no_gradient() -> None:
    stage = stage_of(branch=Choosy)
    free = step(stage, streams(), free=True)
    assert both(stage) < EXACT
    assert any(grad is None for grad in free.grads.values())


class Mixed(nn.Module):
    """A weighted sum of candidates."""

    def __init__(self) -> None:
        super().__init__()
        self.candidates = nn.ModuleList([conv_branch(kernel=3), conv_branch(kernel=5)])

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(w * one(x) for w, one in zip(weights.softmax(0), self.candidates))


def test_mixture_weights_given_to_the_stage_learn_from_every_block() -> None:
    stage = stage_of(branch=Mixed, dtype=torch.float64)
    alpha = torch.tensor([0.3, -0.5], dtype=torch.float64)
    assert both(stage, extra=[alpha]) < EXACT


class Closure(nn.Module):
    """A branch that reaches for a tensor which is none of its parameters."""

    def __init__(self, alpha: Tensor) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS // 2, CHANNELS // 2, 1)
        self.weigh = lambda x: x * alpha

    def forward(self, x: Tensor) -> Tensor:
        return self.weigh(self.conv(x))


def test_a_tensor_that_learns_behind_the_back_of_the_stage_is_an_error() -> None:
    alpha = torch.ones((), dtype=torch.float64, requires_grad=True)
    stage = free_stage(branch=lambda: Closure(alpha.sigmoid()))
    y = stage(*streams())
    with pytest.raises(SupernetError, match=r"branch G of block 1 uses a tensor that learns.*extra="):
        loss_of(y).backward()


def test_gradients_can_be_asked_for_without_backward() -> None:
    stage = stage_of()
    grads = []
    for free in (False, True):
        stage.memory_free = free
        grads.append(torch.autograd.grad(loss_of(stage(*streams())), list(stage.parameters())))
    for one, other in zip(*grads):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    assert all(parameter.grad is None for parameter in stage.parameters())


def test_a_second_derivative_is_refused() -> None:
    stage = free_stage()
    x = [t.requires_grad_() for t in streams()]
    (grad,) = torch.autograd.grad(loss_of(stage(*x)), x[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_the_graph_can_be_kept_and_run_twice() -> None:
    stage = free_stage()
    loss = loss_of(stage(*streams()))
    loss.backward(retain_graph=True)
    first = [p.grad.clone() for p in stage.parameters()]
    loss.backward()
    for grad, parameter in zip(first, stage.parameters()):
        torch.testing.assert_close(parameter.grad, 2 * grad)


@pytest.mark.parametrize("inside", [False, True], ids=["backward outside autocast", "backward inside"])
def test_autocast_is_that_of_the_forward_pass(inside: bool) -> None:
    stage = stage_of(dtype=torch.float32)
    seen = []
    for free in (False, True):
        stage.memory_free = free
        stage.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            y = stage(*streams(torch.float32))
            assert all(t.dtype == torch.float32 for t in y)
            if inside:
                loss_of(y).backward()
        if not inside:
            loss_of(y).backward()
        seen.append([p.grad.clone() for p in stage.parameters()])
    largest = max(float(g.norm()) for g in seen[0])
    for one, other in zip(*seen):
        assert float((one - other).norm()) <= 1e-2 * max(float(one.norm()), 1e-2 * largest)


def test_an_input_that_another_operation_has_saved_is_not_damaged() -> None:
    before = [x.clone() for x in streams()]

    def run(stage: nn.Module, x: list[Tensor]) -> Any:
        return stage(*(F.relu(t) for t in x))

    given = streams()
    assert both(stage_of(), given=given, run=run) < EXACT
    assert all(torch.equal(a, b) for a, b in zip(before, given))


@pytest.mark.parametrize(("channels", "near"), [(9, "8 or 10"), (1, "take 2")])
def test_odd_channels_are_refused(channels: int, near: str) -> None:
    with pytest.raises(SpaceError, match=f"{channels} channels cannot be shared out to 2 streams.*{near}"):
        ReversibleStage.of([(conv_branch(), conv_branch())], (channels, SIDE, SIDE))


def test_a_stride_or_another_width_inside_a_stage_names_the_branch() -> None:
    half = CHANNELS // 2
    strided, wider = nn.Conv2d(half, half, 3, 2, 1), nn.Conv2d(half, half + 2, 1)
    for bad in (strided, wider):
        with pytest.raises(SupernetError, match=r"branch G of block 1 turns .* ordinary layer between"):
            ReversibleStage.of([(conv_branch(), conv_branch()), (conv_branch(), bad)], (CHANNELS, SIDE, SIDE))
    with pytest.raises(SpaceError, match="branch F of block 0 does not take"):
        ReversibleStage.of([(conv_branch(6), conv_branch())], (CHANNELS, SIDE, SIDE))
    with pytest.raises(SupernetError, match="branch F of block 0 turns"):
        ReversibleStage.of([(strided, None)])(*(x.float() for x in streams()))


def test_a_stage_that_is_used_twice_learns_from_both() -> None:
    def twice(stage: nn.Module, x: list[Tensor]) -> Any:
        return stage(*stage(*x))

    assert both(stage_of(), run=twice) < EXACT


def test_choices_that_change_before_the_backward_pass_do_not_reach_it() -> None:
    def run(stage: nn.Module, x: list[Tensor]) -> Any:
        for i, module in enumerate(m for m in stage.modules() if isinstance(m, Choosy)):
            module.active = i % 2
        out = stage(*x)
        for module in stage.modules():
            if isinstance(module, Choosy):
                module.active = 1 - module.active
        stage.eval()
        return out

    assert both(stage_of(branch=Choosy), run=run) < EXACT


@pytest.mark.parametrize("what", ["weight", "output"])
def test_what_changed_before_the_backward_pass_is_an_error(what: str) -> None:
    stage = free_stage()
    y = stage(*streams())
    loss = loss_of(y)
    with torch.no_grad():
        (next(stage.parameters()) if what == "weight" else y[0]).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_mixture_weights_that_do_not_learn_must_not_change_either() -> None:
    stage = free_stage(branch=Mixed)
    weights = torch.zeros(2, dtype=torch.float64)
    loss = loss_of(stage(*streams(), extra=(weights,)))
    weights.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


class Counting(nn.Module):
    """Moves a buffer of its own as it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS // 2, CHANNELS // 2, 1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return self.conv(x)


def test_a_branch_that_moves_a_buffer_of_its_own_is_refused() -> None:
    with pytest.raises(
        SupernetError, match=r"branch F of block 0 changes its own .* 'plain' or 'checkpoint'"
    ):
        free_stage(branch=Counting)(*streams())


def test_nothing_of_a_step_is_alive_after_it() -> None:
    stage = free_stage(branch=lambda: conv_branch(drop=0.1))
    gc.collect()
    gc.disable()
    try:
        x = [t.requires_grad_() for t in streams()]
        y = stage(*x)
        alive = [weakref.ref(t) for t in (*x, *y)] + [weakref.ref(y[0].grad_fn)]
        loss_of(y).backward()
        del x, y
        assert not [ref for ref in alive if ref() is not None]
    finally:
        gc.enable()


def test_parameters_and_buffers_have_the_same_names_in_both_ways() -> None:
    stage = stage_of()
    before = list(stage.state_dict())
    stage.memory_free = True
    loss_of(stage(*streams())).backward()
    assert list(stage.state_dict()) == before


def test_hooks_on_parameters_run_once() -> None:
    calls = []
    stage = free_stage()
    for parameter in stage.parameters():
        parameter.register_hook(lambda grad: calls.append(1) or 2 * grad)
    loss_of(stage(*streams())).backward()
    doubled = [p.grad.clone() for p in stage.parameters()]
    assert len(calls) == len(doubled)
    reference = step(stage_of(), streams(), free=False)
    for (name, _), grad in zip(stage.named_parameters(), doubled):
        torch.testing.assert_close(grad, 2 * reference.grads[name], rtol=1e-8, atol=1e-8)
