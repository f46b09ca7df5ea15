"""Checkpoint: keep the inputs of blocks only, and run each block once more in the backward pass.

PyTorch's checkpointing runs a block again as it then is: batch norm moves its statistics twice, and a weight that was
changed meanwhile gives wrong gradients without a word. Here a block is run again as it was: parameters, buffers and
attributes of its modules are those of the first time, and are put back afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputing

from supernet.errors import SupernetError
from supernet.memory.modes import modes
from supernet.memory.pieces import pieces, running

State = dict[str, Any]


class Frozen:
    """The modules of a block as they are now. Entered, they are so again; left, what happened to them is forgotten.

    Args:
        block: of a bound network.
    """

    def __init__(self, block: nn.Module) -> None:
        self._modules = [module for _, module in running(block)]
        self._states = [_copied(module.__dict__, module.training) for module in self._modules]
        self._versions = [
            (name, tensor, tensor._version)
            for state in self._states
            for name, tensor in state["_parameters"].items()
            if tensor is not None
        ]
        self._now: list[State] = []

    def __enter__(self) -> None:
        """Bring back what was.

        Raises:
            SupernetError: when a parameter was written to since.
        """
        for name, tensor, version in self._versions:
            if tensor._version != version:
                raise SupernetError(
                    f"the parameter {name!r} of shape {tuple(tensor.shape)} was modified before the backward pass that "
                    f"needs it: call backward() before the step of the optimiser"
                )
        self._now = [module.__dict__.copy() for module in self._modules]
        for module, state in zip(self._modules, self._states):
            module.__dict__.update(_copied(state, state["training"]))

    def __exit__(self, *error: object) -> None:
        for module, state in zip(self._modules, self._now):
            module.__dict__.clear()
            module.__dict__.update(state)


def _copied(state: State, moving: bool) -> State:
    """The attributes of a module with dictionaries of tensors of their own.

    Args:
        state: of the module.
        moving: whether it may move its buffers: then they are copies.
    """
    buffers = state["_buffers"]
    held = {name: _cloned(buffer) for name, buffer in buffers.items()} if moving else {**buffers}
    return {**state, "_parameters": {**state["_parameters"]}, "_buffers": held}


def _cloned(buffer: Tensor | None) -> Tensor | None:
    return None if buffer is None else buffer.detach().clone()


@modes.register("checkpoint")
def checkpoint(module: nn.Module) -> None:
    """Keep the inputs of the blocks of a module, and run each block again in the backward pass."""
    for _, block in pieces(module):
        if any(True for _ in block.parameters()) and not _is_single(block):
            block.forward = _recomputed(block, block.forward)


def _is_single(block: nn.Module) -> bool:
    """Whether a block is one layer, whose inputs are kept anyway."""
    return not any(True for _ in block.children())


def _recomputed(block: nn.Module, plain: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(plain)
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The block's answer."""
        if not torch.is_grad_enabled():
            return plain(*args, **kwargs)
        frozen = Frozen(block)

        def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
            """What the block runs in the first time, and the second."""
            return nullcontext(), frozen

        return recomputing(plain, *args, use_reentrant=False, context_fn=contexts, **kwargs)

    return forward
