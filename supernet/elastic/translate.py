"""The calls of a trace in the dims of a plan, and the costs that follow.

A trace speaks of the groups it found, a plan of the dims somebody chose: the same, one of them for
several groups, or none where nothing is elastic. Both say what the axes of the same tensors are made
of, which is enough to write every group as a layout in dims.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from supernet.elastic.costs import Costs
from supernet.elastic.inputs import Inputs
from supernet.elastic.layout import AxisLayout, Factor, Run
from supernet.elastic.plan import Dim, Plan
from supernet.elastic.skeleton import bind
from supernet.elastic.trace import Op, Trace, trace


def costs_at(
    largest: nn.Module, plan: Plan, inputs: Inputs | Sequence[int], *, resized: bool = False
) -> Costs:
    """Exact costs for inputs of certain shapes, by tracing the largest network.

    Where the architecture sets the resolution that the network works at (a dim of kind
    ``resolution``), it is traced at each.

    Args:
        resized: whether the inputs are resized to the side that the choice ``resolution`` says.

    Raises:
        ConversionError: when the network does not run on inputs of that shape.
    """
    inputs = Inputs.of(inputs)
    inside = [dim for dim in plan.dims.values() if dim.kind == "resolution"]
    outside = plan.space["resolution"].values if resized else ()
    ops: list[Op] = []
    conditions: dict[int, str] = {}
    dims = dict(plan.dims)
    for side in (
        [int(side) for side in outside] or sorted({int(n) for dim in inside for n in dim.table.flat}) or [0]
    ):
        sizes = plan.full | {dim.name: side for dim in inside}
        network = bind(largest, plan.slices_at(largest, sizes), training=False)
        start = len(ops)
        for op in in_dims(
            trace(network, inputs.at_resolution(side) if resized else inputs, training=False), plan
        ):
            alias = op.alias if op.alias is None or op.alias < 0 else op.alias + start
            ops.append(replace(op, inputs=tuple(source + start for source in op.inputs), alias=alias))
        if side:
            by = ("resolution",) if resized else inside[0].by
            table = np.array(outside) if resized else inside[0].table
            only = f"resolution is {side}"
            dims[only] = Dim(only, 1, by, (table == side).astype(np.int64), "present")
            conditions |= dict.fromkeys(range(start, len(ops)), only)
    return Costs(replace(plan, dims=dims), ops, largest, inputs.batch, conditions)


def in_dims(trace: Trace, plan: Plan) -> tuple[Op, ...]:
    """The calls of a trace with every group written in the dims of a plan; the rest are constants."""
    meaning = _meanings(trace, plan)

    def written(layout: AxisLayout) -> AxisLayout:
        """An axis in dims of the plan."""
        return AxisLayout(run for old in layout for run in _product(old, meaning, trace.sizes))

    return tuple(
        replace(
            op,
            shape=tuple(written(layout) for layout in op.shape),
            macs=tuple(tuple(written(layout) for layout in part) for part in op.macs),
        )
        for op in trace.ops
    )


def _meanings(trace: Trace, plan: Plan) -> dict[str, AxisLayout]:
    meaning: dict[str, AxisLayout] = {
        group: plan.kernels[tensor].layout
        for tensor, group in trace.kernels.items()
        if tensor in plan.kernels
    }
    # Runs of several groups are understood once the others are; so the plain ones come first.
    axes = sorted(_axes(trace, plan), key=lambda pair: sum(len(run.dims) for run in pair[0]))
    for found, planned in axes:
        runs = (
            [(AxisLayout.of(a), AxisLayout.of(b)) for a, b in zip(found, planned)]
            if len(found) == len(planned)
            else [(found, planned)]
        )
        for ours, theirs in runs:
            for name, layout in _solved(ours, theirs).items():
                meaning.setdefault(name, layout)
    return meaning


def _axes(trace: Trace, plan: Plan) -> Iterator[tuple[AxisLayout, AxisLayout]]:
    """What the trace and the plan say about each axis that the plan cuts."""
    for tensor, axes in plan.layouts.items():
        for found, planned in zip(trace.layouts.get(tensor, ()), axes):
            if planned is not None:
                yield found, planned


def _solved(found: AxisLayout, planned: AxisLayout) -> dict[str, AxisLayout]:
    """Groups of one run of the trace in terms of the plan, where that is clear."""
    if len(found) != 1:
        return {}
    groups, constant = found[0].dims, found[0].constant
    if len(groups) == 1:
        divided = [_divided(run, constant) for run in planned]
        return {groups[0]: AxisLayout(run for run in divided if run)} if None not in divided else {}
    if len(planned) == 1 and len(planned[0]) == len(found[0]):
        return {a: AxisLayout.of((b,)) for a, b in zip(found[0], planned[0]) if isinstance(a, str)}
    return {}


def _divided(run: Run, constant: int) -> Run | None:
    """A run that is shorter by a constant; None when the constant does not divide it."""
    return None if run.constant % constant else Run((run.constant // constant, *run.dims))


def _product(run: Run, meaning: Mapping[str, AxisLayout], sizes: Mapping[str, int]) -> AxisLayout:
    """One run with its groups replaced, multiplied out into a sum of runs."""
    products: list[tuple[Factor, ...]] = [()]
    for factor in run:
        known = None if isinstance(factor, int) else meaning.get(factor)
        layout = known or AxisLayout.of(Run((factor,)).shape(sizes))
        products = [(*left, *right) for left in products for right in layout]
    return AxisLayout(products)
