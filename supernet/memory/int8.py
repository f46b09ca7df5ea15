"""Activations kept in eight bits: what operations save of their inputs and results is rounded, channel by channel.

After Pan et al., "Mesa: a memory-saving training framework for transformers", arXiv:2111.11124. There ranges are
running estimates, head by head; here they are those of the tensor at hand, so that nothing is remembered: an entry is
off by at most a 510th of the range of its channel. Rounding is to the nearest, so that two passes agree and no random
number is drawn; a channel whose least entry is 0, as after a ReLU, keeps its zeros.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from supernet.memory.inside import run_inside
from supernet.memory.modes import approximate, modes

LEVELS = 255
FEWEST = 4096
"""Entries of a tensor that is worth it."""


@modes.register("int8")
@approximate
def int8(module: nn.Module) -> None:
    """What operations inside keep of activations, of three or four axes, is kept in eight bits."""
    run_inside(module, _int8)


def _int8(module: nn.Module) -> AbstractContextManager[Any]:
    packing = Packing(module)
    return saved_tensors_hooks(packing.pack, unpack)


@dataclass(frozen=True)
class Kept:
    """A tensor that is kept as it is.

    Args:
        tensor: without a graph.
        version: what it was when it was saved.
    """

    tensor: Tensor
    version: int


@dataclass(eq=False)
class Rounded:
    """A tensor in eight bits, with the strides it had.

    Args:
        codes: uint8.
        step: between two levels, of each channel.
        low: the lowest level, of each channel.
    """

    codes: Tensor
    step: Tensor
    low: Tensor

    @classmethod
    def of(cls, tensor: Tensor) -> Rounded | None:
        """A dense tensor, rounded; None where a channel holds something that is no number.

        The channels of four axes, ``(batch, channels or heads, ...)``, lie on the second; of three, ``(batch, tokens,
        channels)``, on the last.
        """
        channels = 1 if tensor.dim() == 4 else tensor.dim() - 1
        others = [axis for axis in range(tensor.dim()) if axis != channels]
        low, high = tensor.amin(others, keepdim=True), tensor.amax(others, keepdim=True)
        step = (high - low) / LEVELS
        if not step.isfinite().all():
            return None
        step.clamp_(min=torch.finfo(step.dtype).tiny)
        codes = torch.empty_strided(tensor.shape, tensor.stride(), dtype=torch.uint8, device=tensor.device)
        codes.copy_((tensor - low).div_(step).round_().clamp_(0, LEVELS))
        return cls(codes, step, low)

    def restored(self) -> Tensor:
        """The values of the codes."""
        found = torch.empty_strided(
            self.codes.shape, self.codes.stride(), dtype=self.step.dtype, device=self.codes.device
        )
        return found.copy_(self.codes).mul_(self.step).add_(self.low)


@dataclass(frozen=True)
class View:
    """One of the tensors that show the same memory.

    Args:
        rounded: what lies there.
        shape: of this tensor.
        strides: likewise.
    """

    rounded: Rounded
    shape: torch.Size
    strides: tuple[int, ...]


class Packing:
    """How tensors are saved in one call of a module.

    Args:
        module: its parameters and buffers, and whatever has the shape of one, are kept as they are.
    """

    def __init__(self, module: nn.Module) -> None:
        own = [*module.parameters(), *module.buffers()]
        self._own = {tensor.untyped_storage()._cdata for tensor in own}
        self._shapes = {tensor.shape for tensor in own}
        self._storages: dict[int, StorageWeakRef] = {}
        self._rounded: WeakValueDictionary[tuple[Any, ...], Rounded] = WeakValueDictionary()

    def pack(self, tensor: Tensor) -> Kept | View:
        """What is kept of a tensor that an operation saves."""
        tensor = tensor.detach()
        kept = Kept(tensor, tensor._version)
        if tensor.dim() not in (3, 4) or not tensor.is_floating_point() or tensor.numel() < FEWEST:
            return kept
        storage = tensor.untyped_storage()
        if (
            storage._cdata in self._own
            or tensor.shape in self._shapes
            or 1 in (tensor.shape[1], tensor.shape[-1])
        ):
            return kept
        dense = is_dense(tensor)
        lies = (tensor.numel(),) if dense else (tensor.shape, tensor.stride())
        # held weakly, so that its address can not be another one's meanwhile
        self._storages.setdefault(storage._cdata, StorageWeakRef(storage))  # type: ignore[no-untyped-call]
        key = storage._cdata, tensor.storage_offset(), tensor.dtype, tensor._version, *lies
        rounded = self._rounded.get(key)
        if rounded is None:
            rounded = Rounded.of(tensor if dense else tensor.contiguous())
        if rounded is None:
            return kept
        self._rounded[key] = rounded
        return View(rounded, tensor.shape, tensor.stride() if dense else rounded.codes.stride())


def unpack(kept: Kept | View) -> Tensor:
    """What the backward pass is given.

    Raises:
        RuntimeError: when a tensor that was kept as it is has been modified in place since.
    """
    if isinstance(kept, View):
        return kept.rounded.restored().as_strided(kept.shape, kept.strides, 0)
    if kept.tensor._version != kept.version:
        raise RuntimeError(
            f"a tensor {tuple(kept.tensor.shape)} that the gradients need was modified in place between forward and "
            f"backward pass: it is at version {kept.tensor._version}, and was at {kept.version}"
        )
    return kept.tensor


def is_dense(tensor: Tensor) -> bool:
    """Whether a tensor is a stretch of memory without gaps in which no two entries share a place."""
    expected = 1
    for stride, size in sorted(
        (stride, size) for stride, size in zip(tensor.stride(), tensor.shape) if size > 1
    ):
        if stride != expected:
            return False
        expected *= size
    return True
