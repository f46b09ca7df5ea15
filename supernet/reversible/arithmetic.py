"""How streams are held and added to: as floats, or as whole numbers that can be undone to the last bit.

Floats are rounded when something is added and again when it is taken away, so an inverted stream drifts by about
1e-6. Whole numbers of a fixed step do not: ``(q + n) - n`` is ``q``. What the branch makes is rounded to the step, and
the gradient passes through the rounding as if it were not there.

Known relative: BDIA-transformer (arXiv:2407.09093), which quantises activations and keeps side information.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from supernet.errors import SupernetError

BITS = 16
LIMIT = 2.0 ** (31 - BITS)
"""Streams of whole numbers hold values below this, in steps of 2^-16."""
REDUCED = (torch.float16, torch.bfloat16)


class Arithmetic(Protocol):
    """How a stream is held."""

    def held(self, x: Tensor) -> Tensor:
        """The stream that a tensor becomes."""

    def read(self, stream: Tensor) -> Tensor:
        """The values of a stream."""

    def add(self, stream: Tensor, factor: Any, out: Tensor) -> Tensor:
        """``stream * factor + out``; a factor of None is one."""

    def undo(self, stream: Tensor, factor: Any, out: Tensor) -> Tensor:
        """The stream that `add` was given."""


class Floats:
    """Streams as they are."""

    def held(self, x: Tensor) -> Tensor:
        """The same."""
        return x

    def read(self, stream: Tensor) -> Tensor:
        """The same."""
        return stream

    def add(self, stream: Tensor, factor: Any, out: Tensor) -> Tensor:
        """``stream * factor + out``."""
        return (stream if factor is None else stream * factor) + out

    def undo(self, stream: Tensor, factor: Any, out: Tensor) -> Tensor:
        """``(stream - out) / factor``."""
        before = stream - out
        return before if factor is None else before / factor


@dataclass(frozen=True)
class FixedPoint:
    """Streams as int32 in steps of 2^-16.

    Args:
        dtype: of the values that branches are given, float32 or float64.
    """

    dtype: torch.dtype

    def held(self, x: Tensor) -> Tensor:
        """The nearest whole number of steps."""
        return (x.to(self.dtype) * 2.0**BITS).round_().to(torch.int32)

    def read(self, stream: Tensor) -> Tensor:
        """The values, rounded to the type once they need more than its digits."""
        return stream.to(self.dtype) * 2.0**-BITS

    def add(self, stream: Tensor, factor: Any, out: Tensor) -> Tensor:
        """The stream and the rounded output; factors are refused where a stage is made."""
        return stream + self.held(out)

    def undo(self, stream: Tensor, factor: Any, out: Tensor) -> Tensor:
        """Exactly what `add` was given, when the branch answers as it did."""
        return stream - self.held(out)


class Range:
    """Whether streams of whole numbers stayed within their range, found without waiting for a GPU.

    The bound of a stream is the largest value it began with and the largest of every output since: nothing is missed.
    """

    def __init__(self, streams: Sequence[Tensor]) -> None:
        self.bounds = [_largest(x) for x in streams]

    def grow(self, stream: int, out: Tensor) -> None:
        """Take what is added to a stream into account."""
        self.bounds[stream] = self.bounds[stream] + _largest(out)

    def poison(self) -> Tensor:
        """Zero, or not a number when a stream may have left the range: as overflowing floats, it shows in the loss."""
        return torch.where(torch.stack(self.bounds).amax() < LIMIT, 0.0, torch.nan)


def _largest(x: Tensor) -> Tensor:
    return x.detach().abs().amax().float()


def fingerprint(streams: Sequence[Tensor]) -> Tensor:
    """A few whole numbers that tell streams of whole numbers apart."""
    return torch.stack([stream.sum(dtype=torch.int64) for stream in streams])


def need_same(before: Tensor, after: Tensor) -> None:
    """Make sure that inverted streams are those the stage was given.

    Raises:
        SupernetError: when a branch answered differently at its second run.
    """
    if not torch.equal(before, after):
        raise SupernetError(
            "a branch answered differently when it was run again, so fixed-point streams cannot be undone; use "
            "deterministic kernels (torch.use_deterministic_algorithms(True)), or streams of floats (fixed_point=False)"
        )


class _Held(torch.autograd.Function):
    """The values of a stream of whole numbers, and that stream; the gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, arithmetic: FixedPoint) -> tuple[Tensor, Tensor]:
        """Values and whole numbers."""
        stream = arithmetic.held(x)
        ctx.mark_non_differentiable(stream)
        return arithmetic.read(stream), stream

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """The gradient as it is."""
        return grads[0], None


class _Added(torch.autograd.Function):
    """The values of a stream of whole numbers after an output was added, and that stream."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, stream: Tensor, out: Tensor, arithmetic: FixedPoint
    ) -> tuple[Tensor, Tensor]:
        """Values and whole numbers."""
        ctx.dtype = out.dtype
        changed = arithmetic.add(stream, None, out)
        ctx.mark_non_differentiable(changed)
        return arithmetic.read(changed), changed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """The gradient for the stream and for the output, which may be of a reduced type."""
        return grads[0], None, grads[0].to(ctx.dtype), None


def held(x: Tensor, arithmetic: FixedPoint) -> tuple[Tensor, Tensor]:
    """A tensor in whole numbers under ordinary autograd: values that carry the gradient, and the whole numbers."""
    values, stream = _Held.apply(x, arithmetic)
    return values, stream


def added(x: Tensor, stream: Tensor, out: Tensor, arithmetic: FixedPoint) -> tuple[Tensor, Tensor]:
    """A stream of `held` after an output was added to it."""
    values, changed = _Added.apply(x, stream, out, arithmetic)
    return values, changed
