"""Important units first: what a narrow subnet keeps is a prefix, so the order decides what that is.

The units of a group change places in every tensor at once, so the largest network stays the same
function (up to the order of summation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from supernet.elastic.layout import AxisLayout
from supernet.elastic.plan import Plan
from supernet.elastic.skeleton import bind
from supernet.elastic.supernet import Supernet
from supernet.errors import SupernetError, did_you_mean

Loss = Callable[[Tensor, Tensor], Tensor]
MEASURES = ("l1", "l2", "taylor")


def reorder(
    supernet: Supernet,
    by: str = "l1",
    *,
    batch: tuple[Tensor, Tensor] | None = None,
    loss: Loss = nn.functional.cross_entropy,
    kinds: tuple[str, ...] = ("hidden", "squeeze", "heads", "residual"),
) -> None:
    """Sort the units of every group from the most to the least important, in place.

    Args:
        supernet: whose weights to sort; what it answers for its largest architecture stays the same.
        by: ``l1`` or ``l2``, the norm of all weights of a unit, or ``taylor``, the first-order change of
            the loss when it is removed (Molchanov et al., arXiv:1906.10771), on one batch.
        batch: inputs and labels, for ``taylor``.
        loss: of outputs and labels, for ``taylor``.
        kinds: of the groups to sort.

    Raises:
        SupernetError: for an unknown measure, or ``taylor`` without a batch.
    """
    if by not in MEASURES:
        raise SupernetError(f"importance can not be measured by {by!r}{did_you_mean(by, MEASURES)}")
    if by == "taylor" and batch is None:
        raise SupernetError("taylor importance needs a batch; give batch=(images, labels)")
    saliency = _saliency(supernet, by, batch, loss)
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


def _saliency(
    supernet: Supernet, by: str, batch: tuple[Tensor, Tensor] | None, loss: Loss
) -> dict[str, Tensor]:
    """What every entry of every parameter counts."""
    named = dict(supernet.largest.named_parameters())
    if by == "l1":
        return {name: value.detach().abs().cpu() for name, value in named.items()}
    if by == "l2" or batch is None:
        return {name: value.detach().square().cpu() for name, value in named.items()}
    wanted = {name: value for name, value in named.items() if value.requires_grad}
    largest = bind(
        supernet.largest, supernet.plan.slices(supernet.largest, supernet.space.largest()), training=False
    )
    images, labels = batch
    with torch.enable_grad():
        slopes = torch.autograd.grad(loss(largest(images), labels), list(wanted.values()), allow_unused=True)
    return {
        name: (value.detach() * slope).abs().cpu()
        for (name, value), slope in zip(wanted.items(), slopes)
        if slope is not None
    }


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
