"""A branch as it is now, to be run again later: what changes on the original in between does not reach it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
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
    parameters = dict(branch.named_parameters())
    leaves = {name: own.detach().requires_grad_(own.requires_grad) for name, own in parameters.items()}
    stands_for = {id(own): leaves[name] for name, own in parameters.items()}
    if any("forward" in module.__dict__ for module in branch.modules()):
        # What was put in the place of a forward may lead back to the original: this copy follows it.
        without = frozenset(name for name, _ in _moving(branch))
        copy = bind(branch, Slices(dict(leaves), frozenset()), without=without, own=True)
    else:
        copy = _copied(branch, stands_for, {})
    learning = [name for name, own in parameters.items() if own.requires_grad]
    moving = {id(buffer) for _, buffer in _moving(branch)}
    return Frozen(
        copy,
        tuple(leaves[name] for name in learning),
        tuple(parameters[name] for name in learning),
        (*parameters.values(), *(buffer for buffer in branch.buffers() if id(buffer) not in moving)),
    )


def moves_statistics(module: nn.Module) -> bool:
    """Whether a module brings statistics of batches up to date as it runs."""
    return isinstance(module, _NormBase) and module.training and module.running_mean is not None


def _moving(branch: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The statistics that running the branch moves, by name: a second run would move them again."""
    for path, module in branch.named_modules():
        if moves_statistics(module):
            for name, buffer in module._buffers.items():
                if name in STATISTICS and buffer is not None:
                    yield f"{path}.{name}".lstrip("."), buffer


def _copied(module: nn.Module, stands_for: dict[int, Tensor], memo: dict[int, nn.Module]) -> nn.Module:
    if id(module) in memo:
        return memo[id(module)]
    copy = memo[id(module)] = object.__new__(type(module))
    withheld = STATISTICS if moves_statistics(module) else ()
    own = module.__dict__ | {
        "_parameters": {name: stands_for.get(id(own), own) for name, own in module._parameters.items()},
        "_buffers": {
            name: None if name in withheld else buffer for name, buffer in module._buffers.items()
        },
        "_modules": {
            name: child and _copied(child, stands_for, memo) for name, child in module._modules.items()
        },
    }
    # Not through nn.Module, which would look at every attribute.
    object.__setattr__(copy, "__dict__", own)
    return copy


def reaches_beyond(out: Tensor, leaves: tuple[Tensor, ...]) -> bool:
    """Whether a tensor was computed from one that learns and is not among the leaves."""
    known = {get_gradient_edge(leaf).node for leaf in leaves if leaf.requires_grad}
    waiting, seen = [out.grad_fn], set(known)
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name().endswith("AccumulateGrad"):
            return True
        waiting += [following for following, _ in node.next_functions]
    return False
