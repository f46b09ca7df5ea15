"""Important units first: what a narrow subnet keeps is a prefix, so the order decides what that is.

The units of a group change places in every tensor at once, so the largest network stays the same
function (up to the order of summation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from supernet.elastic.inputs import Inputs
from supernet.elastic.layout import AxisLayout
from supernet.elastic.plan import Dim, Plan
from supernet.elastic.skeleton import bind
from supernet.elastic.supernet import Supernet
from supernet.errors import SupernetError, did_you_mean

Loss = Callable[[Any, Any], Tensor]
Batches = Sequence[tuple[Inputs | Tensor, Any]]
"""Inputs, and what the loss wants to know of them, e.g. labels."""
Beside = Sequence[tuple[str, Tensor]]
"""What an optimiser keeps of a parameter, by its name in the supernet: where it has its shape, it moves along."""
MEASURES = ("l1", "l2", "taylor")
KINDS = ("hidden", "squeeze", "heads", "residual")


def reorder(
    supernet: Supernet,
    by: str = "l1",
    *,
    batches: Batches = (),
    loss: Loss = nn.functional.cross_entropy,
    kinds: tuple[str, ...] = KINDS,
) -> None:
    """Sort the units of every group from the most to the least important, in place.

    Args:
        supernet: whose weights to sort; what it answers for its largest architecture stays the same.
        by: ``l1`` or ``l2``, the norm of all weights of a unit, or ``taylor``, the first-order change of
            the loss when it is removed (Molchanov et al., arXiv:1906.10771), in evaluation mode.
        batches: inputs and labels, for ``taylor``; as good as one large batch, for less memory.
        loss: of outputs and labels, the mean over a batch, for ``taylor``.
        kinds: of the groups to sort.

    Raises:
        SupernetError: for an unknown measure, or ``taylor`` without a batch.
    """
    sort_units(supernet, saliency(supernet, by, batches, loss), kinds=kinds)


@torch.no_grad()
def sort_units(
    supernet: Supernet,
    saliency: dict[str, Tensor],
    *,
    kinds: tuple[str, ...] = KINDS,
    trained: int = 1,
    beside: Beside = (),
) -> None:
    """`reorder` by a saliency that is known.

    Args:
        supernet: likewise.
        saliency: what every entry of every parameter counts, see `saliency`.
        kinds: likewise.
        trained: of every choice, how many of its largest values have been trained: units move only between
            the borders of those widths, so that these subnets stay the same functions too (as Once-for-all
            sorts before each phase of elastic width).
        beside: moves with the parameters.
    """
    for name, dim in supernet.plan.dims.items():
        if dim.kind in kinds:
            order = descending(importance(supernet.plan, name, saliency), _borders(dim, trained))
            permute(supernet, name, order, beside)


def descending(importance: Tensor, borders: Sequence[int]) -> Tensor:
    """Positions from the most important to the least inside each segment between two borders.

    What lies beyond the last border, which even the largest architecture leaves out, stays where it is.
    """
    segments = [start + importance[start:end].argsort(descending=True) for start, end in pairwise(borders)]
    return torch.cat([*segments, torch.arange(borders[-1], len(importance))])


def _borders(dim: Dim, trained: int) -> list[int]:
    """The sizes a dim has when every choice takes one of its so many largest values, and 0."""
    sizes = dim.table[tuple(slice(-trained, None) for _ in dim.by)]
    return sorted({0, *np.unique(sizes).tolist()})


def permute(supernet: Supernet, dim: str, order: Tensor, beside: Beside = ()) -> None:
    """Put the units of a dim in another order, in every tensor that holds them."""
    stored = [*supernet.largest.named_parameters(), *supernet.largest.named_buffers()]
    along = {name: [tensor] for name, tensor in stored}
    for name, tensor in beside:
        own = along.get(name.removeprefix("largest."), [])
        if own and own[0].shape == tensor.shape:
            own.append(tensor)
    for holder, axis, layout in _holders(supernet.plan, dim):
        where = torch.cat(list(_positions(supernet.plan, layout, dim, order)))
        for tensor in along[holder]:
            tensor.data.copy_(tensor.data.index_select(axis, where.to(tensor.device)))


def importance(plan: Plan, dim: str, saliency: dict[str, Tensor]) -> Tensor:
    """How much each unit of a dim counts, shape ``(units,)``: the saliency of all weights it has a part in."""
    total = torch.zeros(plan.dims[dim].full)
    for tensor, axis, layout in _holders(plan, dim):
        if tensor not in saliency or saliency[tensor].dim() < 2:
            continue
        entries = saliency[tensor].movedim(axis, 0).flatten(1).sum(1)
        start = 0
        for run in layout:
            shape = run.shape(plan.full)
            size = torch.Size(shape).numel()
            if dim in run:
                by_unit = entries[start : start + size].view(shape).movedim(run.index(dim), 0)
                total += by_unit.reshape(len(total), -1).sum(1)
            start += size
    return total


def saliency(
    supernet: Supernet, by: str, batches: Batches = (), loss: Loss = nn.functional.cross_entropy
) -> dict[str, Tensor]:
    """What every entry of every parameter of the largest network counts; arguments and errors of `reorder`."""
    if by not in MEASURES:
        raise SupernetError(f"importance can not be measured by {by!r}{did_you_mean(by, MEASURES)}")
    if by == "taylor" and not batches:
        raise SupernetError("taylor importance needs a batch; give batches=[(images, labels)]")
    named = dict(supernet.largest.named_parameters())
    if by == "l1":
        return {name: value.detach().abs().cpu() for name, value in named.items()}
    if by == "l2":
        return {name: value.detach().square().cpu() for name, value in named.items()}
    slopes = _slopes(supernet, batches, loss)
    return {name: (named[name].detach() * slope).abs().cpu() for name, slope in slopes.items()}


def _slopes(supernet: Supernet, batches: Batches, loss: Loss) -> dict[str, Tensor]:
    """The gradient of the mean loss over all examples, for every parameter that it reaches."""
    wanted = {name: value for name, value in supernet.largest.named_parameters() if value.requires_grad}
    slices = supernet.plan.slices(supernet.largest, supernet.space.largest())
    largest = bind(supernet.largest, slices, training=False)
    total: dict[str, Tensor] = {}
    examples = 0
    for given, labels in batches:
        inputs = Inputs.of(given)
        with torch.enable_grad():
            found = loss(inputs.call(largest), labels) * inputs.batch
            slopes = torch.autograd.grad(found, list(wanted.values()), allow_unused=True)
        for name, slope in zip(wanted, slopes):
            if slope is not None:
                total[name] = total[name] + slope if name in total else slope
        examples += inputs.batch
    return {name: slope / examples for name, slope in total.items()}


def _holders(plan: Plan, dim: str) -> Iterator[tuple[str, int, AxisLayout]]:
    """Where the units of a dim lie: tensor, axis and the layout of that axis."""
    for tensor, axes in plan.layouts.items():
        for axis, layout in enumerate(axes):
            if layout is not None and dim in layout.dims:
                yield tensor, axis, layout


def _positions(plan: Plan, layout: AxisLayout, dim: str, order: Tensor) -> Iterator[Tensor]:
    """Run by run, which old entry comes to each new place of an axis."""
    start = 0
    for run in layout:
        shape = run.shape(plan.full)
        entries = torch.arange(start, start + torch.Size(shape).numel()).view(shape)
        start += entries.numel()
        yield (entries.index_select(run.index(dim), order) if dim in run else entries).flatten()
