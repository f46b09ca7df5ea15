"""Norms that learn their shift and keep no map, and Hardswish and ReLU6 that keep one bit of each entry.

Source: Chiang et al., "MobileTL: On-device Transfer Learning with Inverted Residual Blocks", arXiv:2212.03246. There
norms have fixed statistics, and Hardswish goes back as a ReLU would, 0 or 1 by the sign of its input. Here the two
values are the mean derivatives on either side, 0.24 and 0.76, for the same bit: on a small MobileNetV3 with fixed
statistics the error of the gradient fell from 2.4 to 0.5. A norm that takes the statistics of its batch goes on doing
so, and so do layer and group norms: what its mean does to a gradient is exact, for that needs no map, and its deviation
is taken to be a constant. The mask of a ReLU6 is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from supernet.memory.few_bit import best_steps
from supernet.memory.inside import Calls, Replaced, run_inside
from supernet.memory.modes import approximate, modes
from supernet.memory.steps import Steps, stepped

RELU6 = Steps((0.0, 5.9999995), (0.0, 1.0, 0.0))
"""The upper edge is the number before six: at six itself the derivative is none."""


@modes.register("shift_only")
@approximate
def shift_only(module: nn.Module) -> None:
    """The scales of norms do not learn; norms keep a few numbers, Hardswish and ReLU6 a bit of every entry."""
    run_inside(module, _shift_only)


def _shift_only(module: nn.Module) -> AbstractContextManager[Any]:
    return Replaced(CALLS)


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As `torch.nn.functional.batch_norm`."""
    deviation = None if training else running_var

    def call(x: Tensor) -> Tensor:
        """The exact answer."""
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)

    channels = (1, -1, *[1] * (input.dim() - 2))
    over = tuple(axis for axis in range(input.dim()) if axis != 1)
    return _shifted(input, weight, bias, call, _Norm(tuple(input.shape), over, channels, eps, deviation))


def _layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """As `torch.nn.functional.layer_norm`."""
    call = partial(F.layer_norm, normalized_shape=list(normalized_shape), weight=weight, bias=bias, eps=eps)
    over = tuple(range(-len(normalized_shape), 0))
    return _shifted(input, weight, bias, call, _Norm(tuple(input.shape), over, tuple(normalized_shape), eps))


def _group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """As `torch.nn.functional.group_norm`."""
    call = partial(F.group_norm, num_groups=num_groups, weight=weight, bias=bias, eps=eps)
    groups = (input.shape[0], num_groups, input.shape[1] // num_groups, *input.shape[2:])
    channels = (1, num_groups, -1, *[1] * (input.dim() - 2))
    over = tuple(range(2, len(groups)))
    return _shifted(input, weight, bias, call, _Norm(groups, over, channels, eps))


class _Norm:
    """How one call of a norm goes back.

    Args:
        view: shape in which its statistics are over whole axes.
        over: those axes.
        channels: shape in which its scale, and its shift, lies along that view.
        eps: what the variance is made larger by.
        variance: that is fixed; None for that of the input.
    """

    def __init__(
        self,
        view: tuple[int, ...],
        over: tuple[int, ...],
        channels: tuple[int, ...],
        eps: float,
        variance: Tensor | None = None,
    ) -> None:
        self.view, self.over, self.channels, self.eps, self.variance = view, over, channels, eps, variance

    def factor(self, x: Tensor) -> Tensor:
        """What the centred input is divided by, inverted."""
        if self.variance is not None:
            return torch.rsqrt(self.variance.view(self.channels) + self.eps)
        exact = x if x.dtype == torch.float64 else x.float()
        return torch.rsqrt(exact.reshape(self.view).var(self.over, correction=0, keepdim=True) + self.eps)

    def back(self, gradient: Tensor, factor: Tensor, scale: Tensor | None) -> Tensor:
        """The gradient of the input, with a deviation that is constant."""
        found = gradient.reshape(self.view)
        if scale is not None:
            found = found * scale.view(self.channels)
        if self.variance is None:
            found = found - found.mean(self.over, keepdim=True)
        return (found * factor).view(gradient.shape)

    def shift(self, gradient: Tensor, shape: torch.Size) -> Tensor:
        """The gradient of the shift."""
        lying = (
            self.channels
            if -1 not in self.channels
            else torch.empty(shape, device="meta").view(self.channels).shape
        )
        return gradient.reshape(self.view).sum_to_size(lying).view(shape)


def _shifted(
    x: Tensor, scale: Tensor | None, shift: Tensor | None, call: Callable[[Tensor], Tensor], norm: _Norm
) -> Tensor:
    answer: Tensor = _Shifted.apply(x, scale, shift, call, norm)
    return answer


class _Shifted(torch.autograd.Function):
    """A norm that keeps a number for each of its statistics."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        call: Callable[[Tensor], Tensor],
        norm: _Norm,
    ) -> Tensor:
        """The exact answer."""
        ctx.norm, ctx.dtype, ctx.shape = norm, x.dtype, None if shift is None else shift.shape
        ctx.save_for_backward(norm.factor(x), scale)
        return call(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Of the input, nearly; of the scale none; of the shift exactly."""
        factor, scale = ctx.saved_tensors
        x_needs, _, shift_needs, *_ = ctx.needs_input_grad
        dx = ctx.norm.back(gradient, factor, scale).to(ctx.dtype) if x_needs else None
        return dx, None, ctx.norm.shift(gradient, ctx.shape) if shift_needs else None, None, None


def _hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    return stepped(input, F.hardswish, best_steps(F.hardswish, 1))


def _relu6(input: Tensor, inplace: bool = False) -> Tensor:
    return stepped(input, F.relu6, RELU6)


CALLS: Calls = {
    F.batch_norm: _batch_norm,
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.hardswish: _hardswish,
    F.relu6: _relu6,
}
"""Functions of PyTorch, and what stands in for them."""
