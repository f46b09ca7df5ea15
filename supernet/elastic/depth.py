"""Blocks that can be left out: what goes in reaches what comes out past them.

A block is skippable when its result has the shape of its input and the input arrives there through
additions (and activations or norms around them) only. Blocks of one parent that follow each other make a
stage, which keeps its first blocks.

What a block answers beside that, as `passing` sees in the running network, has to be an input too: the
position bias that every block of a T5 hands to the next one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from supernet.elastic.inputs import Inputs
from supernet.elastic.trace import Op, Trace

Passed = int | str | None
"""An input of a module, by position or name; None for None."""

PASSING = frozenset(
    (
        *("add", "sub", "relu", "relu6", "hardswish", "silu", "gelu", "hardtanh", "batch_norm", "dropout"),
        *("clone", "contiguous", "alias", "to", "_to_copy", "view", "reshape", "flatten", "unflatten"),
        *("permute", "transpose"),
        # A norm after the sum, as in the first transformers: without the block, its input was normed already.
        *("layer_norm", "rms_norm", "group_norm"),
    )
)


@dataclass(frozen=True)
class Stage:
    """Blocks that follow each other.

    Args:
        name: path of the parent module.
        fixed: leading blocks that always stay.
        blocks: paths of the skippable ones, in order.
    """

    name: str
    fixed: int
    blocks: tuple[str, ...]

    @property
    def depths(self) -> tuple[int, ...]:
        """How many blocks can be kept; at least one."""
        return tuple(range(max(1, self.fixed), self.fixed + len(self.blocks) + 1))


@dataclass(frozen=True)
class _Block:
    path: str
    start: int
    end: int
    ops: frozenset[int]


def candidates(trace: Trace) -> list[str]:
    """Paths of the modules that the graph says could be left out."""
    return [block.path for block in _found(trace)]


def stages(trace: Trace, allowed: Container[str] | None = None) -> list[Stage]:
    """The stages of a network, in the order of its graph.

    Args:
        allowed: paths of the blocks that may be left out; all when None.
    """
    users = _users(trace.ops)
    found = [block for block in _found(trace) if allowed is None or block.path in allowed]
    blocks = sorted(_outermost(_without_chains(trace, found)), key=lambda block: (block.end, block.start))
    out: list[Stage] = []
    for chain in _chains(blocks):
        parent = chain[0].path.rpartition(".")[0]
        name = parent if all(parent != stage.name for stage in out) else chain[0].path
        out.append(
            Stage(
                name or "blocks",
                int(_follows_a_sibling(trace, chain[0], users)),
                tuple(b.path for b in chain),
            )
        )
    return out


@torch.no_grad()
def passing(network: nn.Module, inputs: Inputs, paths: Iterable[str]) -> dict[str, tuple[Passed, ...] | None]:
    """What each of some modules answers when it is left out, from one run of the network.

    Returns:
        path to None for a module that answers with one tensor, in whose place its first input passes
        on; for one that answers with a tuple, to the inputs that pass on in place of its entries.
        Modules that answer with anything else, or are called without a tensor first, are not in it.
    """
    found: dict[str, tuple[Passed, ...] | None] = {}
    failed: set[str] = set()
    handles = []

    def note(path: str) -> Any:
        """A hook that notes what the module of that path was given and answered."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            """Notes one call."""
            passed = _passed(args, kwargs, out)
            if passed is False or found.setdefault(path, passed) != passed:
                failed.add(path)

        return hook

    try:
        for path in paths:
            module = network.get_submodule(path)
            handles.append(module.register_forward_hook(note(path), with_kwargs=True))
        inputs.call(network)
    finally:
        for handle in handles:
            handle.remove()
    return {path: passed for path, passed in found.items() if path not in failed}


def _passed(args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> Any:
    """The inputs to answer with; None when it is the first one alone, False when it can not be done."""
    if not args or not isinstance(args[0], Tensor):
        return False
    if isinstance(out, Tensor):
        return None
    if type(out) is not tuple or not out or not isinstance(out[0], Tensor) or out[0].shape != args[0].shape:
        return False
    given: dict[int, Passed] = {id(value): name for name, value in kwargs.items() if value is not None}
    given |= {id(value): i for i, value in enumerate(args) if value is not None}
    rest = [None if value is None else given.get(id(value), False) for value in out[1:]]
    return False if any(value is False for value in rest) else (0, *rest)


def _found(trace: Trace) -> list[_Block]:
    users = _users(trace.ops)
    return [
        block for path, ops in trace.calls.items() if path and (block := _skippable(trace, path, ops, users))
    ]


def _users(ops: Sequence[Op]) -> list[list[int]]:
    users: list[list[int]] = [[] for _ in ops]
    for i, op in enumerate(ops):
        for source in op.inputs:
            users[source].append(i)
    return users


def _skippable(trace: Trace, path: str, ops: tuple[int, ...], users: list[list[int]]) -> _Block | None:
    inside = frozenset(ops)
    ends = [i for i in ops if any(user not in inside for user in users[i])]
    if len(ends) != 1 or not trace.ops[ends[0]].shape:
        return None
    reached, todo = set(), [ends[0]]
    while todo:
        op = trace.ops[todo.pop()]
        for source in op.inputs if op.name.removesuffix("_") in PASSING else ():
            if source in inside:
                todo.append(source)
            else:
                reached.add(source)
    if len(reached) != 1:
        return None
    (start,) = reached
    same = trace.ops[start].shape == trace.ops[ends[0]].shape and start == _first_read(trace, ops)
    works = any(trace.ops[i].macs or trace.ops[i].tensors for i in ops)
    adds = any(trace.ops[i].name.removesuffix("_") == "add" for i in ops)
    return _Block(path, start, ends[0], inside) if same and works and adds else None


def _first_read(trace: Trace, ops: tuple[int, ...]) -> int | None:
    """The first result from outside, of as many entries as the answer, that a module reads: its first input."""
    inside, entries = frozenset(ops), _full(trace, ops[-1])
    read = (source for i in ops for source in trace.ops[i].inputs if source not in inside)
    return next((source for source in read if _full(trace, source) == entries), None)


def _full(trace: Trace, op: int) -> int:
    return prod(layout.length(trace.sizes) for layout in trace.ops[op].shape)


def _without_chains(trace: Trace, blocks: list[_Block]) -> list[_Block]:
    """Blocks that multiply weights of their own, or are made of unlike parts; a mere sequence is no block."""
    out = []
    for block in blocks:
        within = [b for b in blocks if b is not block and b.path.startswith(f"{block.path}.")]
        parts = _outermost(within)
        # A first block of a list that can not be left out is not what the list's owner does itself.
        lists = {part.path.rpartition(".")[0] for part in parts} - {block.path}
        theirs = [i for i in block.ops if any(trace.ops[i].module.startswith(f"{path}.") for path in lists)]
        own = block.ops.difference(theirs, *(b.ops for b in within))
        if not within or any(trace.ops[i].macs for i in own) or _unlike(trace, block, parts):
            out.append(block)
    return out


def _unlike(trace: Trace, block: _Block, parts: list[_Block]) -> bool:
    """Whether parts make a block, as attention and MLP do: most differ, in a plain sequence all."""
    kinds = _kinds(trace, parts)
    return len(parts) > 1 and (
        kinds == len(parts) or (2 * kinds > len(parts) and block.path not in trace.sequences)
    )


def _kinds(trace: Trace, blocks: Iterable[_Block]) -> int:
    """How many kinds of blocks there are: those that hold mostly the same names are of one kind."""
    kinds: list[frozenset[str]] = []
    for block in blocks:
        prefix = f"{block.path}."
        names = frozenset(name.removeprefix(prefix) for name in trace.layouts if name.startswith(prefix))
        if not any(2 * len(names & other) > len(names | other) for other in kinds):
            kinds.append(names)
    return len(kinds)


def _outermost(blocks: list[_Block]) -> list[_Block]:
    paths = {block.path for block in blocks}
    return [b for b in blocks if not any(b.path.startswith(f"{path}.") for path in paths)]


def _chains(blocks: list[_Block]) -> list[list[_Block]]:
    chains: list[list[_Block]] = []
    for block in blocks:
        for chain in chains:
            siblings = chain[0].path.rpartition(".")[0] == block.path.rpartition(".")[0]
            if siblings and chain[-1].end == block.start:
                chain.append(block)
                break
        else:
            chains.append([block])
    return chains


def _follows_a_sibling(trace: Trace, first: _Block, users: list[list[int]]) -> bool:
    """Whether a block of the same parent, which can not be left out, comes before the first one."""
    parent = first.path.rpartition(".")[0]
    for path, ops in trace.calls.items():
        if path.rpartition(".")[0] == parent and path != first.path and path and first.start in ops:
            return any(trace.ops[i].macs for i in ops)
    return False
