"""GELU and SiLU that answer exactly and go back as a sum of three ReLUs: two bits of each entry are kept.

Source: Yang et al., "Reducing Fine-Tuning Memory Overhead by Approximate and Memory-Sharing Backpropagation",
arXiv:2406.16282. The sum is 0 far to the left and ``x`` far to the right, and the nearest such function in the mean
square over the whole line. GELU and SiLU are half of ``x`` plus an even function, and so is the nearest sum: it is
given by where it leaves 0 and by its value at 0.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from supernet.memory.inside import Calls, Replaced, run_inside
from supernet.memory.modes import approximate, modes
from supernet.memory.steps import Steps, stepped

NEAREST: dict[Callable[..., Tensor], tuple[float, float]] = {
    F.gelu: (3.1713122, -0.1572183),
    F.silu: (6.3199363, -0.2561108),
}
"""How far from 0 the nearest sum bends, and its value at 0; the tests find them anew."""


@modes.register("relu_backward")
@approximate
def relu_backward(module: nn.Module) -> None:
    """GELU and SiLU keep two bits of every entry."""
    run_inside(module, _relu_backward)


def _relu_backward(module: nn.Module) -> AbstractContextManager[Any]:
    return Replaced(CALLS)


def sum_of_relus(call: Callable[..., Tensor]) -> Steps:
    """The derivative of the sum that stands in for a function."""
    bend, middle = NEAREST[call]
    slope = middle / bend
    return Steps((-bend, 0.0, bend), (0.0, slope, 1 - slope, 1.0))


def _standing_in(call: Callable[..., Tensor]) -> Callable[..., Tensor]:
    steps = sum_of_relus(call)

    def answer(input: Tensor, inplace: bool = False, **options: Any) -> Tensor:
        """What the activation answers; where it was to work in place it does not."""
        return stepped(input, partial(call, **options), steps)

    return answer


CALLS: Calls = {call: _standing_in(call) for call in NEAREST}
"""The activations of PyTorch, and what stands in for them."""
