"""Blocks that can be left out: what goes in reaches what comes out past them.

A block is skippable when its result has the shape of its input and the input arrives there through
additions (and activations or batch norms around them) only. Blocks of one parent that follow each other make a
stage, which keeps its first blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from supernet.elastic.trace import Op, Trace

PASSING = frozenset(
    (
        *("add", "sub", "relu", "relu6", "hardswish", "silu", "gelu", "hardtanh", "batch_norm", "dropout"),
        *("clone", "contiguous", "alias", "to", "_to_copy", "view", "reshape", "flatten", "unflatten"),
        *("permute", "transpose"),
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


def stages(trace: Trace) -> list[Stage]:
    """The stages of a network, in the order of its graph."""
    users = _users(trace.ops)
    found = [
        block for path, ops in trace.calls.items() if path and (block := _skippable(trace, path, ops, users))
    ]
    blocks = sorted(_outermost(_without_chains(found)), key=lambda block: (block.end, block.start))
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
    same = trace.ops[start].shape == trace.ops[ends[0]].shape
    works = any(trace.ops[i].macs or trace.ops[i].tensors for i in ops)
    adds = any(trace.ops[i].name.removesuffix("_") == "add" for i in ops)
    return _Block(path, start, ends[0], inside) if same and works and adds else None


def _without_chains(blocks: list[_Block]) -> list[_Block]:
    """Blocks that do something of their own; a mere sequence of blocks is no block."""
    out = []
    for block in blocks:
        within = [b.ops for b in blocks if b is not block and b.path.startswith(f"{block.path}.")]
        if not within or block.ops - frozenset().union(*within):
            out.append(block)
    return out


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
