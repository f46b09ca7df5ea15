"""A branch as it is now, to be run again later: what changes on the original in between does not reach it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from supernet.elastic.skeleton import bind
from supernet.elastic.slicing import Slices

STATISTICS = frozenset(("running_mean", "running_var", "num_batches_tracked"))


@dataclass(frozen=True)
class Frozen:
    """A copy of a branch whose parameters are leaves of their own, and whose statistics will not move.

    Args:
        branch: the copy; plain attributes, modes and choices are those of the moment.
        leaves: its parameters that learn.
        originals: the tensors they stand for, in the same order.
        read: all tensors of the original that a second run reads, and that must not have changed until then.
    """

    branch: nn.Module
    leaves: tuple[Tensor, ...]
    originals: tuple[Tensor, ...]
    read: tuple[Tensor, ...]


def freeze(branch: nn.Module) -> Frozen:
    """A copy of the module tree; tensors share their memory with the original's."""
    walk = _Freezing()
    copy = walk.copied(branch)
    if walk.redirected:
        # What was put in the place of a forward may lead back to the original: this copy follows it.
        mixtures = ((name, own) for name, own in branch.named_buffers() if own.requires_grad)
        leaves = {name: walk.leaf(own) for name, own in (*branch.named_parameters(), *mixtures)}
        without = frozenset(name for name, _ in _moving(branch))
        copy = bind(branch, Slices(leaves, frozenset()), without=without, own=True)
    pairs = [pair for pair in walk.stands_for.values() if pair[0].requires_grad]
    parameters = (own for own, _ in walk.stands_for.values())
    return Frozen(
        copy,
        tuple(leaf for _, leaf in pairs),
        tuple(own for own, _ in pairs),
        (*parameters, *walk.buffers.values()),
    )


def moves_statistics(module: nn.Module) -> bool:
    """Whether a module brings statistics of batches up to date as it runs."""
    return isinstance(module, _NormBase) and module.training and module.running_mean is not None


class _Freezing:
    """One walk over a module tree; it is made for every branch of every pass, and so it is written to be quick."""

    def __init__(self) -> None:
        self.stands_for: dict[int, tuple[Tensor, Tensor]] = {}
        self.buffers: dict[int, Tensor] = {}
        self.redirected = False
        self._memo: dict[int, nn.Module] = {}

    def leaf(self, own: Tensor) -> Tensor:
        """What stands for a parameter: the same memory, a graph of its own."""
        if id(own) not in self.stands_for:
            leaf = own.detach()
            self.stands_for[id(own)] = own, leaf.requires_grad_() if own.requires_grad else leaf
        return self.stands_for[id(own)][1]

    def copied(self, module: nn.Module) -> nn.Module:
        """A copy of a module and of those below it."""
        if id(module) in self._memo:
            return self._memo[id(module)]
        copy: nn.Module = object.__new__(type(module))
        self._memo[id(module)] = copy
        own: dict[str, Any] = module.__dict__.copy()
        self.redirected |= "forward" in own
        if parameters := own["_parameters"]:
            own["_parameters"] = {
                name: None if one is None else self.leaf(one) for name, one in parameters.items()
            }
        if buffers := own["_buffers"]:
            moving = STATISTICS if moves_statistics(module) else ()
            kept = {name: one for name, one in buffers.items() if one is not None and name not in moving}
            # A buffer that learns holds the weights of a mixture, see supernet.elastic.relaxation.
            learning = {name: self.leaf(one) for name, one in kept.items() if one.requires_grad}
            own["_buffers"] = {**dict.fromkeys(buffers), **kept, **learning}
            self.buffers |= {id(one): one for name, one in kept.items() if name not in learning}
        if modules := own["_modules"]:
            own["_modules"] = {
                name: None if child is None else self.copied(child) for name, child in modules.items()
            }
        # Not through nn.Module, which would look at every attribute.
        object.__setattr__(copy, "__dict__", own)
        return copy


def _moving(branch: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The statistics that running the branch moves, by name: a second run would move them again."""
    for path, module in branch.named_modules():
        if moves_statistics(module):
            for name, buffer in module._buffers.items():
                if name in STATISTICS and buffer is not None:
                    yield f"{path}.{name}".lstrip("."), buffer


def reaches_beyond(out: Tensor, leaves: tuple[Tensor, ...]) -> bool:
    """Whether a tensor was computed from one that learns and is not among the leaves."""
    known = {id(leaf) for leaf in leaves}
    waiting: list[Any] = [out.grad_fn]
    seen: set[Any] = {None}
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            variable = getattr(node, "variable", None)  # of the nodes where the graph ends
            if variable is not None and id(variable) not in known:
                return True
            waiting += [following for following, _ in node.next_functions]
    return False
