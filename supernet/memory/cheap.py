"""The calls that cost little beside a convolution or a product of matrices, and are made again instead of kept.

Norms, activations, sums, products by entry, paddings, concatenations, max pooling, and whatever only looks at a tensor
in another shape. Each is made again by the same kernel, so that not one bit differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from supernet.memory.recipes import Remake


@dataclass(frozen=True)
class Cheap:
    """A cheap call, as a network makes it, and how it is made again.

    Args:
        remake: answers the same, and writes to none of its inputs.
        writes: whether the first argument is written to, always (``add_``).
        inplace: position of an argument ``inplace`` that says whether it is; None for a call that has none.
        is_copied: whether autograd copies the first argument before it is written to.
    """

    remake: Remake
    writes: bool = False
    inplace: int | None = None
    is_copied: bool = False

    def is_inplace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether a call with these arguments writes to the first one."""
        if self.inplace is None:
            return self.writes
        return bool(kwargs.get("inplace", args[self.inplace] if len(args) > self.inplace else False))

    def pure(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the same call without that word."""
        if self.inplace is None:
            return args, kwargs
        return args[: self.inplace], {name: value for name, value in kwargs.items() if name != "inplace"}


def _activations() -> dict[Any, Cheap]:
    found = {}
    for call in (
        F.relu,
        F.relu6,
        F.hardswish,
        F.hardsigmoid,
        F.silu,
        F.mish,
        F.leaky_relu,
        F.elu,
        F.hardtanh,
    ):
        position = {F.leaky_relu: 2, F.elu: 2, F.hardtanh: 3}.get(call, 1)
        copied = call in (F.hardswish, F.silu, F.mish, F.hardsigmoid, F.relu6, F.hardtanh)
        found[call] = Cheap(Remake(call, partial(call, inplace=True)), inplace=position, is_copied=copied)
    found[F.relu] = Cheap(Remake(F.relu, torch.relu_, of_sum=torch.ops.aten._add_relu_.Tensor), inplace=1)
    return found


STEM = 160
"""Products for an entry of a convolution of the images themselves, up to which it is made again too."""
CONVOLVED = Cheap(Remake(torch.conv2d))


def is_stem(x: Tensor, weight: Tensor) -> bool:
    """Whether a convolution is cheap beside what it answers, and no gradient goes on beyond it."""
    return x.is_cpu and not x.requires_grad and weight[0].numel() <= STEM


def _arithmetic() -> dict[Any, Cheap]:
    T = Tensor
    found: dict[Any, Cheap] = {}
    for calls, over, adds in (
        ((torch.add, T.add, T.__add__, T.__radd__), T.add_, True),
        ((torch.sub, T.sub, T.__sub__), T.sub_, True),
        ((torch.mul, T.mul, T.__mul__, T.__rmul__), T.mul_, False),
        ((torch.div, T.div, T.__truediv__), T.div_, False),
        ((torch.relu, T.relu), T.relu_, False),
        ((torch.sigmoid, T.sigmoid, F.sigmoid), T.sigmoid_, False),
        ((torch.tanh, T.tanh, F.tanh), T.tanh_, False),
        ((torch.clamp, T.clamp), T.clamp_, False),
    ):
        found |= {call: Cheap(Remake(call, over, adds=adds)) for call in calls}
        found[over] = Cheap(Remake(calls[1], over, adds=adds), writes=True)
    found[torch.relu_] = found[T.relu_]
    return found


def _others() -> dict[Any, Cheap]:
    T = Tensor
    norms = (F.layer_norm, F.group_norm, torch.layer_norm, torch.group_norm, F.normalize)
    fresh = (*norms, F.gelu, F.softplus, torch.cat, torch.stack, T.clone)
    looks = (
        *(torch.permute, torch.transpose, torch.reshape, torch.flatten, torch.squeeze, torch.unsqueeze),
        *(T.permute, T.transpose, T.reshape, T.view, T.flatten, T.squeeze, T.unsqueeze, T.unflatten),
        *(T.chunk, T.split, T.unbind, torch.chunk, torch.split, torch.unbind, T.contiguous, F.pad),
    )
    made: dict[Any, Cheap] = {call: Cheap(Remake(call)) for call in fresh}
    return made | {call: Cheap(Remake(call, is_fresh=False)) for call in looks}


CHEAP: dict[Any, Cheap] = _activations() | _arithmetic() | _others()
"""What is made again, by the function that PyTorch calls."""


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


def seen(whole: Tensor, shape: Sequence[int], stride: Sequence[int], offset: int) -> Tensor:
    """A view of a tensor that lies in memory as the first time."""
    return whole.as_strided(shape, stride, offset)


def picked(x: Tensor, places: Tensor) -> Tensor:
    """What max pooling answered, from the places of the maxima in each map."""
    return x.flatten(2).gather(2, places.flatten(2).long()).view(places.shape)


NORMALISED, BATCH_NORM, SEEN = Remake(normalised), Remake(F.batch_norm), Remake(seen, is_fresh=False)
PICKED, LONG = Remake(picked), Remake(Tensor.long)
