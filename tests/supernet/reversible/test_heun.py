"""The reversible Heun solver: what it solves, that it can be undone, and gradients of the discrete steps."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from supernet.errors import SpaceError
from supernet.reversible import ReversibleHeun


class Spiral(nn.Module):
    """A field that turns, damps and depends on time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, time: float, x: Tensor) -> Tensor:
        return self.layer(x).tanh() - 0.1 * time * x


class Decay(nn.Module):
    def forward(self, time: float, x: Tensor) -> Tensor:
        return -x


def state() -> Tensor:
    return torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_it_solves_an_equation_whose_answer_is_known_to_second_order() -> None:
    errors = [
        float((ReversibleHeun(Decay(), 0.0, 1.0, steps)(state()) - state() * torch.e**-1).abs().max())
        for steps in (20, 40)
    ]
    assert errors[0] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2)


def steps_by_hand(field: nn.Module, y: Tensor, steps: int) -> Tensor:
    """As the paper writes them."""
    z, h = y, 1.0 / steps
    for i in range(steps):
        slope = field(i * h, z)
        z = 2 * y - z + h * slope
        y = y + h / 2 * (slope + field((i + 1) * h, z))
    return y


def test_its_steps_are_those_of_the_paper_and_its_gradients_those_of_the_steps() -> None:
    torch.manual_seed(0)
    field = Spiral().double()
    expected_of = deepcopy(field)
    x, same = state().requires_grad_(), state().requires_grad_()
    solver = ReversibleHeun(field, steps=7)
    solver.stage.memory_free = True
    out = solver(x)
    expected = steps_by_hand(expected_of, same, 7)
    torch.testing.assert_close(out, expected, rtol=1e-13, atol=1e-13)
    out.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(x.grad, same.grad, rtol=1e-12, atol=1e-12)
    for one, other in zip(field.parameters(), expected_of.parameters()):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-12, atol=1e-12)


def test_a_solve_without_steps_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"0 steps from 0\.0 to 1\.0 solve nothing"):
        ReversibleHeun(Decay(), steps=0)
