"""The calls that cost little beside a convolution or a product of matrices, and are made again instead of kept.

Norms, activations, sums, products by entry, paddings, concatenations, max pooling and whatever only looks at a tensor
in another shape. Each is made again by the same kernel, so that not one bit differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Call = Callable[..., Any]


@dataclass(frozen=True)
class Cheap:
    """How a cheap call is made again.

    Args:
        call: answers the same, and writes to none of its inputs.
        writes: whether the first argument is written to, always (``add_``).
        inplace: position of an argument ``inplace`` that says whether it is; None for a call that has none.
        sums: whether it only adds or looks: its backward pass needs none of its inputs.
    """

    call: Call
    writes: bool = False
    inplace: int | None = None
    sums: bool = False

    def is_inplace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether a call with these arguments writes to the first one."""
        if self.inplace is None:
            return self.writes
        return bool(kwargs.get("inplace", args[self.inplace] if len(args) > self.inplace else False))

    def pure(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the same call that writes to none of them."""
        if self.inplace is None:
            return args, kwargs
        return args[: self.inplace], {name: value for name, value in kwargs.items() if name != "inplace"}


def _table() -> dict[Any, Cheap]:
    T = Tensor
    unary = (F.relu, F.relu6, F.hardswish, F.hardsigmoid, F.silu, F.mish)
    found: dict[Any, Cheap] = {call: Cheap(call, inplace=1) for call in unary}
    found |= {F.leaky_relu: Cheap(F.leaky_relu, inplace=2), F.elu: Cheap(F.elu, inplace=2)}
    found[F.hardtanh] = Cheap(F.hardtanh, inplace=3)
    plain: tuple[Any, ...] = (
        *(F.layer_norm, F.group_norm, F.gelu, F.sigmoid, F.tanh, F.normalize, F.softplus),
        *(torch.relu, torch.sigmoid, torch.tanh, torch.mul, torch.div, torch.layer_norm, torch.group_norm),
        *(
            T.relu,
            T.sigmoid,
            T.tanh,
            T.mul,
            T.div,
            T.__mul__,
            T.__rmul__,
            T.__truediv__,
            T.clamp,
            torch.clamp,
        ),
        *(F.pad, torch.cat, torch.stack, T.contiguous, T.clone),
    )
    found |= {call: Cheap(call) for call in plain}
    adds: tuple[Any, ...] = (
        *(torch.add, torch.sub, T.add, T.sub, T.__add__, T.__radd__, T.__sub__, T.__rsub__),
    )
    looks: tuple[Any, ...] = (
        *(torch.permute, torch.transpose, torch.reshape, torch.flatten, torch.squeeze, torch.unsqueeze),
        *(T.permute, T.transpose, T.reshape, T.view, T.flatten, T.squeeze, T.unsqueeze, T.unflatten),
        *(T.chunk, T.split, T.unbind, torch.chunk, torch.split, torch.unbind, F.channel_shuffle),
    )
    found |= {call: Cheap(call, sums=True) for call in (*adds, *looks)}
    written: dict[Any, Call] = {
        **{T.add_: T.add, T.sub_: T.sub, T.__iadd__: T.add, T.__isub__: T.sub},
        **{T.mul_: T.mul, T.div_: T.div, T.__imul__: T.mul, T.__itruediv__: T.div},
        **{T.relu_: T.relu, torch.relu_: torch.relu, T.sigmoid_: T.sigmoid, T.tanh_: T.tanh},
        **{T.clamp_: T.clamp},
    }
    found |= {call: Cheap(pure, writes=True, sums=pure in (T.add, T.sub)) for call, pure in written.items()}
    return found


CHEAP = _table()
"""What is made again, by the function that PyTorch calls."""
ADDS = frozenset({torch.add, torch.sub, Tensor.add, Tensor.sub, Tensor.__add__, Tensor.__radd__})


def normalised(x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, invstd: Tensor) -> Tensor:
    """What batch norm answered in training, from its statistics, on the CPU.

    It scales by ``weight * invstd``, then shifts. That product is handed in as the weight, beside a variance of one, so
    that the same kernel runs, in one pass.
    """
    scale = invstd if weight is None else invstd * weight
    return torch.batch_norm(x, scale, bias, mean, torch.ones_like(invstd), False, 0.0, 0.0, False)


def is_dense(x: Tensor) -> bool:
    """Whether batch norm takes its short way: maps that lie in memory without gaps, one order or the other."""
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))
