"""From a trace to a plan: the groups that may be cut become dims, all others constants."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

import numpy as np
from torch import nn

from supernet.elastic.layout import AxisLayout, Kernel
from supernet.elastic.plan import Dim, Plan, SizeAttribute
from supernet.elastic.size_attributes import of_layers
from supernet.elastic.trace import Group, Trace
from supernet.space import SearchSpace


def plan_of(
    model: nn.Module,
    trace: Trace,
    space: SearchSpace,
    dims: Mapping[str, Dim],
    *,
    switches: Mapping[str, Dim] | None = None,
    transforms: Mapping[str, tuple[tuple[int, str], ...]] | None = None,
    size_attributes: Sequence[SizeAttribute] = (),
    passes: Mapping[str, tuple[int | str | None, ...] | None] | None = None,
) -> Plan:
    """The slicing plan in which some groups of a trace follow the choices of a space.

    Args:
        model: the largest network, plain.
        trace: of that network.
        space: the choices that the dims name.
        dims: name of a group (``trace.group("blocks.1.0.conv_pw.weight").name``, or that of a
            kernel) to the dim that says its size; the name of the dim is the name of the group.
            Groups that are left out stay whole.
        switches: path of a module that can be left out to its dim of kind ``present``.
        transforms: name of a weight to the matrices by which its kernel is made smaller.
        size_attributes: integers of modules other than PyTorch's own layers that have to follow.
        passes: path of a module that can be left out to the inputs that make its answer then, where that
            is a tuple.
    """
    layouts = {
        name: tuple(with_constants(layout, trace.groups, dims) for layout in axes)
        for name, axes in trace.layouts.items()
    }
    cut = {name: tuple(layout if layout.dims else None for layout in axes) for name, axes in layouts.items()}
    cut = {name: axes for name, axes in cut.items() if any(axes)}
    kernels = {
        weight: Kernel(name, (transforms or {}).get(weight, ()))
        for weight, name in trace.kernels.items()
        if name in dims
    }
    present = switches or {}
    return Plan(
        space=space,
        dims={**dims, **{dim.name: dim for dim in present.values()}},
        layouts=cut,
        kernels=kernels,
        switches={path: dim.name for path, dim in present.items()},
        size_attributes=(*of_layers(model, cut, kernels), *size_attributes),
        passes={path: inputs for path, inputs in (passes or {}).items() if inputs and path in present},
    )


def free_plan(
    model: nn.Module, trace: Trace, live: Iterable[str], size_attributes: Sequence[SizeAttribute] = ()
) -> Plan:
    """A plan without choices: every live group is a dim of its own, whose size is given by hand."""
    groups = [trace.groups[name] for name in live]
    dims = {g.name: Dim(g.name, g.size, (), np.array(g.size), g.kind) for g in groups}
    return plan_of(model, trace, SearchSpace(()), dims, size_attributes=size_attributes)


def with_constants(layout: AxisLayout, groups: Mapping[str, Group], live: Container[str]) -> AxisLayout:
    """The layout with every group that is not live as the constant it is."""
    runs: list[tuple[int | str, ...]] = []
    for run in layout:
        factors: list[int | str] = []
        for factor in run:
            size = groups[factor].size if isinstance(factor, str) and factor not in live else factor
            if isinstance(size, int) and factors and isinstance(factors[-1], int):
                factors[-1] *= size
            elif size != 1:
                factors.append(size)
        last = runs[-1] if runs else ()
        if len(factors) == len(last) == 1 and isinstance(factors[0], int) and isinstance(last[0], int):
            runs[-1] = (last[0] + factors[0],)
        else:
            runs.append(tuple(factors) or (1,))
    return AxisLayout(runs)
