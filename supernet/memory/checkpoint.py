"""Checkpoint: keep the inputs of blocks only, and run each block once more in the backward pass.

PyTorch's checkpointing runs a block again as it then is: batch norm moves its statistics twice, and a weight that was
changed meanwhile gives wrong gradients without a word. Here a block is run again as it was: parameters, buffers and
attributes of its modules, generators and autocast are those of the first time, and are put back afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import wraps
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_flatten, tree_unflatten

from supernet.errors import SupernetError
from supernet.memory.fused import Fusing, apart
from supernet.memory.modes import modes
from supernet.memory.pieces import pieces, running
from supernet.memory.recipes import casting

State = dict[str, Any]


class Kept(Protocol):
    """A tensor that a block saved when it was run again."""

    def use(self) -> Tensor:
        """The tensor."""


class Tensors(saved_tensors_hooks):
    """Keeps what autograd keeps."""

    def __init__(self, pack: Callable[[Kept], Kept], unpack: Callable[[Kept], Tensor]) -> None:
        super().__init__(lambda tensor: pack(_Plain(tensor)), unpack)


class _Plain:
    """A saved tensor, without its graph, which would then hold itself."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor if tensor.grad_fn is None else tensor.detach()

    def use(self) -> Tensor:
        """The tensor."""
        return self._tensor


Keeping = Callable[[Callable[[Kept], Kept], Callable[[Kept], Tensor]], AbstractContextManager[Any]]
"""What a block that is run again keeps: a context around its call, from two hooks."""


class Frozen:
    """The modules of a block, the generators and autocast as they are now. Entered, all of it is so again.

    Left, what happened to them is forgotten.

    Args:
        block: of a bound network.
        given: tensors that it is called with.
    """

    def __init__(self, block: nn.Module, given: list[Tensor]) -> None:
        self._modules = [module for _, module in running(block)]
        self._states = [_copied(module.__dict__, module.training) for module in self._modules]
        weights = (tensor for state in self._states for tensor in state["_parameters"].values())
        buffers = (tensor for state in self._states for tensor in state["_buffers"].values())
        mixtures = (tensor for tensor in buffers if tensor is not None and tensor.requires_grad)
        read = (tensor for tensor in (*given, *weights, *mixtures) if tensor is not None)
        self._versions = [(tensor, tensor._version) for tensor in read]
        kinds = {"cpu", *(tensor.device.type for tensor, _ in self._versions)}
        self._casts = [
            (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in kinds
        ]
        self._cpu = torch.get_rng_state()
        self._cuda = {
            index: torch.cuda.get_rng_state(index)
            for index in {tensor.device.index for tensor, _ in self._versions if tensor.is_cuda}
        }
        self._now: list[State] = []
        self._stack = ExitStack()

    def __enter__(self) -> None:
        """Bring back what was.

        Raises:
            SupernetError: when a parameter or an input was written to since.
        """
        for tensor, version in self._versions:
            if tensor._version != version:
                raise SupernetError(
                    f"a tensor of shape {tuple(tensor.shape)} was modified before the backward pass, which computes "
                    f"with it again: call backward() before the step of the optimiser"
                )
        self._stack.enter_context(torch.random.fork_rng(devices=list(self._cuda)))
        torch.set_rng_state(self._cpu)
        for index, state in self._cuda.items():
            torch.cuda.set_rng_state(state, index)
        for cast in self._casts:
            self._stack.enter_context(casting(cast))
        self._now = [module.__dict__.copy() for module in self._modules]
        for module, attributes in zip(self._modules, self._states):
            module.__dict__.update(_copied(attributes, attributes["training"]))

    def __exit__(self, *error: object) -> None:
        for module, attributes in zip(self._modules, self._now):
            module.__dict__.clear()
            module.__dict__.update(attributes)
        self._stack.close()


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
    # One that learns holds the weights of a mixture, see supernet.elastic.relaxation.
    return buffer if buffer is None or buffer.requires_grad else buffer.detach().clone()


class _Enough(Exception):
    """Everything that the backward pass needs is there again."""


class Replay:
    """One call of a block: what autograd saves of it is a number, and the block is run again for the tensors.

    Args:
        block: of a bound network.
        plain: runs it.
        args: that it is called with.
        kwargs: likewise.
        keeping: what it keeps when it is run again.
    """

    def __init__(
        self, block: nn.Module, plain: Callable[..., Any], args: Any, kwargs: Any, keeping: Keeping
    ) -> None:
        self._plain, self._keeping = plain, keeping
        # Taken apart, as whoever calls may change a list afterwards: a dense block appends to the one it hands on.
        self._leaves, self._spec = tree_flatten((args, kwargs))
        self._frozen = Frozen(block, [leaf for leaf in self._leaves if isinstance(leaf, Tensor)])
        self._count = 0
        self._found: dict[int, Kept] = {}

    def first(self, args: Any, kwargs: Any) -> Any:
        """What the block answers, the first time: with the very lists that it is given, which it may change."""
        with apart(), saved_tensors_hooks(self._number, self._tensor):
            return self._plain(*args, **kwargs)

    def _number(self, tensor: Tensor) -> int:
        self._count += 1
        return self._count - 1

    def _tensor(self, number: int) -> Tensor:
        if number not in self._found:
            self._run_again()
        return self._found.pop(number).use()

    def _run_again(self) -> None:
        self._found = {}
        try:
            with self._frozen, torch.enable_grad(), self._keeping(self._keep, _used):
                args, kwargs = tree_unflatten(self._leaves, self._spec)
                self._plain(*args, **kwargs)
        except _Enough:
            pass
        if len(self._found) != self._count:
            raise SupernetError(
                f"a block that is run again needed {len(self._found)} tensors for its backward pass, and "
                f"{self._count} the first time: what it does depends on something outside; run it in plain"
            )

    def _keep(self, kept: Kept) -> Kept:
        number = len(self._found)
        self._found[number] = kept
        if number + 1 == self._count:
            raise _Enough
        return kept


def _used(kept: Kept) -> Tensor:
    return kept.use()


def recompute(module: nn.Module, keeping: Keeping) -> None:
    """Let the blocks of a module keep their inputs only."""
    for _, block in pieces(module):
        if any(True for _ in block.parameters()) and any(True for _ in block.children()):
            block.forward = _replayed(block, block.forward, keeping)


@modes.register("checkpoint")
def checkpoint(module: nn.Module) -> None:
    """Keep the inputs of the blocks of a module, and run each block again in the backward pass."""
    recompute(module, Tensors)


@modes.register("checkpoint_fused")
def checkpoint_fused(module: nn.Module) -> None:
    """The same; a block that is run again keeps no more than it does in ``fused``."""
    recompute(module, Fusing)


def _replayed(block: nn.Module, plain: Callable[..., Any], keeping: Keeping) -> Callable[..., Any]:
    @wraps(plain)
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The block's answer."""
        if not torch.is_grad_enabled():
            return plain(*args, **kwargs)
        return Replay(block, plain, args, kwargs, keeping).first(args, kwargs)

    return forward
