"""What the fused mode keeps, copies and computes again, beside what every mode keeps to."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.memory.cheap import CHEAP
from supernet.memory.fused import Fusing
from supernet.memory.modes import modes
from tests.supernet.memory.examples import Calls, images

Answer = Callable[[Tensor], Tensor]


class Normed(nn.Module):
    """A convolution and a batch norm, and then what is asked for."""

    def __init__(self, then: Answer) -> None:
        super().__init__()
        self.conv, self.norm, self.then = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), then

    def forward(self, x: Tensor) -> Tensor:
        """Of eight channels."""
        return self.then(self.norm(self.conv(x)))


def returned(h: Tensor) -> Tensor:
    """The answer of the call is used."""
    return F.hardswish(h, inplace=True)


def ignored(h: Tensor) -> Tensor:
    """The tensor itself is used, which the call has written to."""
    F.hardswish(h, inplace=True)
    return h


def seen(h: Tensor) -> Tensor:
    """A view that was taken before shows what was written."""
    view = h[:, :4]
    F.hardswish(h, inplace=True)
    return view * 2


def of_a_view(h: Tensor) -> Tensor:
    """The tensor shows what was written to a view."""
    F.silu(h[:, :4], inplace=True)
    return h


def used_before(h: Tensor) -> Tensor:
    """What was computed from the tensor before stays."""
    twice = h * 2
    return F.silu(h, inplace=True) + twice


@pytest.mark.parametrize("then", [returned, ignored, seen, of_a_view, used_before])
@pytest.mark.parametrize("order", [1, 2])
def test_a_call_in_place_is_one_for_everybody_who_has_the_tensor(then: Answer, order: int) -> None:
    torch.manual_seed(0)
    plain = Normed(then).double()
    other = deepcopy(plain)
    modes["fused"](other)

    def slopes(network: nn.Module) -> tuple[Tensor, ...]:
        """First or second derivatives."""
        weights = list(network.parameters())
        out = network(images()).pow(3).sum()
        for _ in range(order):
            found = torch.autograd.grad(out, weights, create_graph=order > 1)
            out = sum((slope.square().sum() for slope in found), torch.zeros(()))
        return found

    for ours, theirs in zip(slopes(other), slopes(plain)):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("call", [call for call, cheap in CHEAP.items() if cheap.inplace is not None])
def test_it_is_known_which_calls_in_place_autograd_copies_for(call: Callable[..., Tensor]) -> None:
    with Calls() as calls:
        call(torch.randn(4, requires_grad=True) * 2, inplace=True)
    assert CHEAP[call].is_copied == (calls.found["clone"] > 0)


def test_an_activation_in_place_copies_nothing() -> None:
    network = Normed(returned)
    with Calls() as calls:
        network(images(torch.float32)).sum().backward()
    assert calls.found["clone"] == 1
    modes["fused"](network)
    with Calls() as calls:
        h = network(images(torch.float32))
        assert h.grad_fn is not None and h.grad_fn.name() == "HardswishBackward0"
        h.sum().backward()
    assert calls.found["clone"] == calls.found["hardswish_"] == 0


class Row(nn.Module):
    """Residual blocks of 16 channels, and some channels in between."""

    def __init__(self, between: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(16, between, 1), nn.Conv2d(between, 16, 1), nn.BatchNorm2d(16))
            for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Of 16 channels."""
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return x


class Looking(Fusing):
    """Notes whether each sum was kept."""

    def __init__(self) -> None:
        super().__init__()
        self.sums: list[bool] = []

    def _is_rest(self, out: Any, nodes: Any) -> bool:
        self.sums.append(super()._is_rest(out, nodes))
        return self.sums[-1]


def test_a_sum_is_not_narrow_beside_a_wider_one_before_it_that_is_made_again() -> None:
    wide, half = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 32, 2, stride=2)
    with Looking() as looking:
        x = wide(images(torch.float32, batch=8))
        x = torch.relu_(x + torch.sigmoid(x))
        (half(x) + half(x)).sum().backward()
    assert looking.sums == [False, False]


@pytest.mark.parametrize(("between", "kept"), [(16, 0), (64, 2)])
def test_of_narrow_sums_every_other_is_kept(between: int, kept: int) -> None:
    network = Row(between)
    with Looking() as looking:
        out = network(images(torch.float32, batch=8))
    assert looking.sums == ([True, False, True, False] if kept else [False] * 4)
    out.square().mean().backward()
    fused = {name: weight.grad for name, weight in network.named_parameters()}
    network.zero_grad()
    network(images(torch.float32, batch=8)).square().mean().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None and fused[name] is not None
        assert torch.equal(weight.grad, fused[name]), name
