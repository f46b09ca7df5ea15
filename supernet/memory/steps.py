"""Pointwise functions whose derivative is taken to be a few steps: their input is kept as one code of a few bits.

The answer of such a function is exact, bit for bit; only the way back is approximate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Pointwise = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Steps:
    """A derivative in steps.

    Args:
        edges: where it jumps, ascending.
        levels: its values, one more than edges; those that are equal share a code.
    """

    edges: tuple[float, ...]
    levels: tuple[float, ...]

    @cached_property
    def values(self) -> tuple[float, ...]:
        """The value of each code."""
        return tuple(dict.fromkeys(self.levels))

    @property
    def bits(self) -> int:
        """That a code needs."""
        return (len(self.values) - 1).bit_length()

    def codes(self, x: Tensor) -> Tensor:
        """The code of the level at every entry, uint8; an entry on an edge is still below it."""
        numbers = [self.values.index(level) for level in self.levels]
        found = torch.full_like(x, numbers[0], dtype=torch.uint8)
        for edge, before, after in zip(self.edges, numbers, numbers[1:]):
            found += (x > edge) * ((after - before) % 256)  # adding 255 takes 1 away
        return found

    def __call__(self, x: Tensor) -> Tensor:
        """The derivative at every entry."""
        return self.of(self.codes(x), x.dtype)

    def of(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """The levels of codes."""
        table = torch.tensor(self.values, dtype=dtype, device=codes.device)
        return table.index_select(0, codes.flatten().int()).view_as(codes)


def stepped(x: Tensor, call: Pointwise, steps: Steps) -> Tensor:
    """What a pointwise function answers; its derivative is a few steps."""
    answer: Tensor = _Stepped.apply(x, call, steps)
    return answer


class _Stepped(torch.autograd.Function):
    """Keeps the codes of its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Pointwise, steps: Steps) -> Tensor:
        """The exact answer."""
        ctx.steps, ctx.shape = steps, x.shape
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(packed(steps.codes(x), steps.bits))
        return call(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """The gradient times the level of each entry."""
        (planes,) = ctx.saved_tensors
        codes = unpacked(planes, ctx.shape)
        return gradient * ctx.steps.of(codes, gradient.dtype), None, None


def packed(codes: Tensor, bits: int) -> Tensor:
    """Codes below ``2**bits`` eight to so many bytes, shape ``(bits, entries / 8)``."""
    flat = codes.flatten()
    rows = F.pad(flat, (0, -len(flat) % 8)).view(8, -1)
    planes = rows.new_zeros(bits, rows.shape[1])
    for bit, plane in enumerate(planes):
        for place, row in enumerate(rows):
            plane |= ((row >> bit) & 1) << place
    return planes


def unpacked(planes: Tensor, shape: torch.Size) -> Tensor:
    """The codes that `packed` packed."""
    rows = planes.new_zeros(8, planes.shape[1])
    for bit, plane in enumerate(planes):
        for place, row in enumerate(rows):
            row |= ((plane >> place) & 1) << bit
    return rows.flatten()[: shape.numel()].view(shape)
