"""Important units first: what a narrow subnet keeps is a prefix, so the order decides what that is.

The units of a group change places in every tensor at once, so the largest network stays the same
function (up to the order of summation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from supernet.elastic.inputs import Inputs
from supernet.elastic.layout import AxisLayout
from supernet.elastic.plan import Plan
from supernet.elastic.skeleton import bind
from supernet.elastic.supernet import Supernet
from supernet.errors import SupernetError, did_you_mean

Loss = Callable[[Any, Any], Tensor]
Batches = Sequence[tuple[Inputs | Tensor, Any]]
"""Inputs, and what the loss wants to know of them, e.g. labels."""
MEASURES = ("l1", "l2", "taylor")


def reorder(
    supernet: Supernet,
    by: str = "l1",
    *,
    batches: Batches = (),
    loss: Loss = nn.functional.cross_entropy,
    kinds: tuple[str, ...] = ("hidden", "squeeze", "heads", "residual"),
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
    if by not in MEASURES:
        raise SupernetError(f"importance can not be measured by {by!r}{did_you_mean(by, MEASURES)}")
    if by == "taylor" and not batches:
        raise SupernetError("taylor importance needs a batch; give batches=[(images, labels)]")
    saliency = _saliency(supernet, by, batches, loss)
    with torch.no_grad():
        for name, dim in supernet.plan.dims.items():
            if dim.kind in kinds:
                # Units that even the largest architecture leaves out stay where they are.
                used = int(dim.table.max())
                order = importance(supernet.plan, name, saliency)[:used].argsort(descending=True)
                permute(supernet, name, torch.cat([order, torch.arange(used, dim.full)]))


def permute(supernet: Supernet, dim: str, order: Tensor) -> None:
    """Put the units of a dim in another order, in every tensor that holds them."""
    stored = {**dict(supernet.largest.named_parameters()), **dict(supernet.largest.named_buffers())}
    for tensor, axis, layout in _holders(supernet.plan, dim):
        where = torch.cat(list(_positions(supernet.plan, layout, dim, order)))
        stored[tensor].data.copy_(stored[tensor].data.index_select(axis, where.to(stored[tensor].device)))


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


def _saliency(supernet: Supernet, by: str, batches: Batches, loss: Loss) -> dict[str, Tensor]:
    """What every entry of every parameter counts."""
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
