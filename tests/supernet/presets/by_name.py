"""Tensors by published names: noise to fill a network with, and the layers to compute it by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def noise(shapes: Mapping[str, tuple[int, ...]]) -> State:
    """Tensors of these shapes, of a size that keeps signals alive."""
    rng = torch.Generator().manual_seed(0)
    state: State = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = torch.rand(shape, generator=rng) + 0.5
        elif len(shape) > 1:
            state[name] = torch.randn(shape, generator=rng) * (2 / prod(shape[1:])) ** 0.5
        else:
            state[name] = 0.3 * torch.randn(shape, generator=rng) + 1.0 * name.endswith("weight")
    return state


def normed(path: str, channels: int, affine: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    for tensor in ("weight", "bias") if affine else ():
        yield f"{path}.{tensor}", (channels,)
    for tensor in ("running_mean", "running_var"):
        yield f"{path}.{tensor}", (channels,)
    yield f"{path}.num_batches_tracked", ()


def norm(state: State, path: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    mean, var = state[f"{path}.running_mean"], state[f"{path}.running_var"]
    return F.batch_norm(x, mean, var, state.get(f"{path}.weight"), state.get(f"{path}.bias"), eps=eps)


def images(side: int) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
