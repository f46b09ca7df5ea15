"""Few-bit derivatives: pointwise activations keep two to four bits of each entry of their input.

Source: Novikov et al., "Few-bit backward: quantized gradients of activation functions for memory footprint reduction",
arXiv:2202.00441. As there, the steps are the best for inputs that are normally distributed, found by dynamic
programming.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.memory.inside import Calls, Replaced, run_inside
from supernet.memory.modes import approximate, modes
from supernet.memory.steps import Pointwise, Steps, stepped

BITS = 3
REACH, CELLS = 8.0, 640
"""The derivative is looked at from minus that to that, in so many cells."""
ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "gelu": F.gelu, "silu": F.silu, "mish": F.mish, "hardswish": F.hardswish
}  # fmt: skip
"""Pointwise functions that keep the whole of their input."""


@modes.register("few_bit")
@approximate
def few_bit(module: nn.Module) -> None:
    """GELU, SiLU, Mish and Hardswish keep three bits of every entry."""
    run_inside(module, _three_bits)


def _three_bits(module: nn.Module) -> AbstractContextManager[Any]:
    return Replaced(few_bit_calls(BITS))


@lru_cache
def few_bit_calls(bits: int) -> Calls:
    """The activations of PyTorch, and what stands in for them with derivatives of so many bits."""

    def standing_in(call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """One of them; where it was to work in place it does not."""

        def answer(input: Tensor, inplace: bool = False, **options: Any) -> Tensor:
            """What the activation answers."""
            exact = partial(call, **options)
            return stepped(input, exact, best_steps(call, bits, tuple(options.items())))

        return answer

    return {call: standing_in(call) for call in ACTIVATIONS.values()}


@lru_cache
def best_steps(call: Pointwise, bits: int, options: tuple[tuple[str, Any], ...] = ()) -> Steps:
    """The steps nearest to the derivative of a function, in the mean square over a standard normal input.

    Args:
        call: pointwise.
        bits: of a code.
        options: of the call, as its keywords.
    """
    centres = (torch.arange(CELLS, dtype=torch.float64) + 0.5) * (2 * REACH / CELLS) - REACH
    with torch.enable_grad():
        x = centres.requires_grad_()
        (derivative,) = torch.autograd.grad(call(x, **dict(options)).sum(), x)
    weight = torch.exp(-centres.detach().square() / 2)
    ends, levels = best_pieces(derivative.numpy(), weight.numpy(), 2**bits)
    return Steps(tuple(end * (2 * REACH / CELLS) - REACH for end in ends[:-1]), tuple(levels))


def best_pieces(values: Any, weights: Any, count: int) -> tuple[list[int], list[float]]:
    """Where to cut a line of values into pieces that are nearest, in the weighted mean square, to a constant each.

    Args:
        values: one after the other.
        weights: of each.
        count: of pieces.

    Returns:
        Where each piece ends, and its constant.
    """
    w, wv, wvv = (np.concatenate([[0.0], np.cumsum(weights * values**power)]) for power in (0, 1, 2))
    n = len(values)
    mass = np.triu(w[None, :] - w[:, None], 1)
    mean = np.divide(wv[None, :] - wv[:, None], mass, out=np.zeros_like(mass), where=mass > 0)
    cost = np.where(mass > 0, wvv[None, :] - wvv[:, None] - mean**2 * mass, np.inf)
    best, starts = cost[0], []
    for _ in range(count - 1):
        totals = best[:, None] + cost
        starts.append(totals.argmin(0))
        best = totals.min(0)
    ends = [n]
    for start in reversed(starts):
        ends.append(int(start[ends[-1]]))
    cuts = [0, *reversed(ends[1:]), n]
    return cuts[1:], [float(mean[i, j]) for i, j in pairwise(cuts)]
