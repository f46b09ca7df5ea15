"""Which groups a network's answer depends on: one gradient tells it of all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from supernet.elastic.layout import Sizes, centre
from supernet.elastic.plan import Plan
from supernet.elastic.slicing import Slices
from supernet.elastic.trial import Failed, Trial

log = logging.getLogger(__name__)

SEEN = 1e-9
"""Influence of what is cut, as a share of the size of the answer, below which it counts as none."""


@dataclass
class Influence:
    """How much the answer would change, to first order, if entries of the tensors were zero.

    Args:
        plan: in which every group is a dim.
        lines: by tensor and axis, the influence of each entry of the axis.
        maps: by weight, that of each place of its kernel, ``(side, side)``.
        scale: size of the answer.
    """

    plan: Plan
    lines: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    maps: dict[str, Tensor] = field(default_factory=dict)
    scale: float = 1.0

    def add(self, name: str, influence: Tensor) -> None:
        """Enter the influence of the entries of one tensor."""
        for axis, layout in enumerate(self.plan.layouts.get(name, ())):
            if layout is not None:
                self.lines[name, axis] = influence.movedim(axis, 0).reshape(influence.shape[axis], -1).sum(1)
        if name in self.plan.kernels:
            self.maps[name] = influence.flatten(0, 1).sum(0, keepdim=True)[None]

    def of(self, dim: str, size: int) -> float:
        """That of what is dropped when one dim has fewer units, as a share of the size of the answer."""
        sizes = {**self.plan.full, dim: size}
        total = 0.0
        for (name, axis), line in self.lines.items():
            layout = self.plan.layouts[name][axis]
            if layout is not None and dim in layout.dims:
                dropped = line.clone()
                for view in layout.views(dropped, 0, sizes, self.plan.full):
                    view.zero_()
                total += float(dropped.sum())
        for name, square in self.maps.items():
            if self.plan.kernels[name].dim == dim:
                total += float(square.sum() - centre(square, size).sum())
        return total / self.scale


def seen(trial: Trial, plan: Plan, names: Iterable[str], cut: Sizes, training: bool) -> set[str]:
    """The groups whose dropped entries the answer depends on.

    The smallest tensor that holds a group is looked at first, which saves half the gradient; where it
    shows nothing, all are. A gradient of zero proves nothing, so what is not among the groups that are
    returned has to be looked at otherwise.

    Args:
        trial: of the network.
        plan: in which every group is a dim.
        names: of groups.
        cut: units to keep.
        training: whether to look at the answer in training.
    """
    left, visible = list(names), set[str]()
    for tensors in (_smallest(plan, trial.model), frozenset(plan.touched)):
        if not left:
            break
        try:
            found = _influence(trial, plan, tensors, training)
        except (Failed, RuntimeError) as error:  # there are many ways to forbid gradients
            log.info("no gradient tells what the answer depends on: %s", error)
            break
        visible |= {name for name in left if found.of(name, cut.get(name, plan.full[name])) > SEEN}
        left = [name for name in left if name not in visible]
    return visible


def _smallest(plan: Plan, model: nn.Module) -> frozenset[str]:
    """Of every dim the parameter of the fewest entries that holds it."""
    best: dict[str, tuple[int, str]] = {}
    for name, parameter in model.named_parameters():
        for dim in plan.dims_of(name):
            best[str(dim)] = min(best.get(str(dim), (parameter.numel(), name)), (parameter.numel(), name))
    return frozenset(name for _, name in best.values())


def _influence(trial: Trial, plan: Plan, tensors: Container[str], training: bool) -> Influence:
    found = Influence(plan)
    leaves: dict[str, Tensor] = {}
    for name, parameter in trial.model.named_parameters():
        if name in tensors and parameter.is_floating_point():
            leaves[name] = nn.Parameter(parameter.detach())
            leaves[name].register_post_accumulate_grad_hook(_adding(found, name))  # type: ignore[no-untyped-call]
    bound = trial.bound(trial.model, Slices(leaves, frozenset()), training)
    said = trial.run(bound, training, gradient=True)
    weighed = [_weighed(tensor) for tensor in said.tensors if tensor.requires_grad]
    found.scale = max(sum(float(one.detach().abs().sum()) for one in weighed), 1e-30)
    torch.stack([one.sum() for one in weighed]).sum().backward()  # type: ignore[no-untyped-call]
    return found


def _adding(found: Influence, name: str) -> Callable[[Tensor], None]:
    """A hook that takes a gradient as soon as it is there, so that only one is held at a time."""

    def add(leaf: Tensor) -> None:
        """Enter the gradient and forget it."""
        assert leaf.grad is not None
        found.add(name, (leaf.grad * leaf.detach()).abs())
        leaf.grad = None

    return add


def _weighed(tensor: Tensor) -> Tensor:
    """The entries of an answer times random weights, so that no sum of them is zero by chance."""
    plain = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    generator = torch.Generator().manual_seed(0)
    return plain * torch.randn(plain.shape, generator=generator).to(plain)
