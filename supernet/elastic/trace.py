"""The traced network: its calls, with every size in terms of dims, and which sizes move together.

`trace` exports the network with `torch.export` and walks the aten graph with one rule per op
(`supernet.elastic.rules`). What no rule knows fixes what it touches; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

import torch
from torch import Tensor, nn
from torch.fx import Node

from supernet.elastic import counting, rules
from supernet.elastic.exporting import answering, exported, first_line
from supernet.elastic.groups import Axis, Unit, axis_size, compressed, fresh, units
from supernet.elastic.inputs import Inputs
from supernet.elastic.layout import AxisLayout
from supernet.elastic.notes import ties
from supernet.elastic.trial import training_inputs, without_drops
from supernet.elastic.walk import Walk, alias_of, module_of, modules_of, op_name, sequences_of
from supernet.errors import ConversionError, did_you_mean


@dataclass(frozen=True)
class Op:
    """One call of the traced graph.

    Args:
        name: the aten op, e.g. ``conv2d``, ``linear``, ``matmul``, ``scaled_dot_product_attention``.
        module: path of the innermost module that made the call; "" for the network itself.
        inputs: positions of the ops whose results it reads.
        tensors: names of the parameters and buffers it reads.
        shape: one layout per axis of its result, batch included; a constant is ``((n,),)``. Empty
            for an op of several results: each is read by a ``getitem`` op of its own.
        macs: products of layouts whose sum is its multiply-adds; empty when it has none.
        alias: position of the op whose result shares its memory, -1 when an input or a parameter does;
            None when its result has memory of its own.
        counted: whether its multiply-adds are known: without, costs are not.
    """

    name: str
    module: str
    inputs: tuple[int, ...]
    tensors: tuple[str, ...]
    shape: tuple[AxisLayout, ...]
    macs: tuple[tuple[AxisLayout, ...], ...] = ()
    alias: int | None = None
    counted: bool = True


@dataclass(frozen=True)
class Reduction:
    """A mean, sum or maximum over axes that may be elastic: it is taken over the entries that are left.

    Args:
        op: the aten op, e.g. ``mean``.
        shape: of what is reduced, in the largest network.
        dims: the reduced axes, ascending.
        layouts: one for each of them.
    """

    op: str
    shape: tuple[int, ...]
    dims: tuple[int, ...]
    layouts: tuple[AxisLayout, ...]


@dataclass(frozen=True)
class Group:
    """Axes that have to change together.

    Args:
        name: path of what made it and what it is: ``"blocks.1.0.conv_pw.width"``. It is the factor
            that stands for the group in the layouts of `Trace`.
        kind: ``hidden``, ``squeeze`` (a reduction that gates the group ``within``), ``heads``,
            ``head_dim``, ``residual`` (what residual branches are added to, or what is normalised
            over) or ``kernel`` (side of a depth-wise kernel).
        size: units in the largest network.
        members: ``(tensor, axis)`` of the parameters and buffers that hold it.
        fixed: why it can not change; None when nothing speaks against it.
        within: name of the group a squeeze follows.
        channels: entries of an axis that go with one unit, where they are fewest.
    """

    name: str
    kind: str
    size: int
    members: tuple[tuple[str, int], ...]
    fixed: str | None = None
    within: str | None = None
    channels: int = 1


@dataclass(frozen=True)
class Trace:
    """What a network's graph says about its sizes.

    Args:
        groups: by name, in the order of the graph.
        layouts: every parameter and buffer the graph reads, one layout per axis, factors being
            constants and names of groups (fixed ones too).
        kernels: weight of a depth-wise convolution to the ``kernel`` group that is its side.
        ops: every call, in the order of the graph.
        calls: path of every called module to the positions of the ops made inside it.
        example: shapes and types of what it was traced with.
        reductions: those over axes that may be elastic, in the order of the graph.
        sequences: paths of the called modules that are a `torch.nn.Sequential`.
    """

    groups: dict[str, Group]
    layouts: dict[str, tuple[AxisLayout, ...]]
    kernels: dict[str, str]
    ops: tuple[Op, ...]
    calls: dict[str, tuple[int, ...]]
    example: Inputs
    reductions: tuple[Reduction, ...] = ()
    sequences: frozenset[str] = frozenset()

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The units of every group in the whole network."""
        return {name: group.size for name, group in self.groups.items()}

    def group(self, tensor: str, axis: int = 0) -> Group:
        """The one group that ``axis`` of a parameter or buffer is made of, times what stays whole.

        Raises:
            ConversionError: for an unknown tensor, or an axis of no or several groups.
        """
        if tensor not in self.layouts:
            raise ConversionError(f"the graph reads no tensor {tensor!r}{did_you_mean(tensor, self.layouts)}")
        layout = self.layouts[tensor][axis]
        names = [name for name in layout.dims if self.groups[name].fixed is None] or layout.dims
        if len(names) != 1:
            raise ConversionError(f"axis {axis} of {tensor!r} is {layout}: not of exactly one group")
        return self.groups[names[0]]

    def tied(self, names: Sequence[str], units: int) -> Trace:
        """The trace in which these groups move in proportion: as one of ``units``, named as the first."""
        first = self.groups[names[0]]
        inner = {name: self.groups[name].size // units for name in names}

        def follow(layout: AxisLayout) -> AxisLayout:
            """An axis with each of the groups in proportion to the first."""
            return layout.mapped(lambda factor: _in_proportion(factor, inner, first.name))

        ops = tuple(
            replace(
                op,
                shape=tuple(map(follow, op.shape)),
                macs=tuple(tuple(map(follow, product)) for product in op.macs),
            )
            for op in self.ops
        )
        members = tuple(dict.fromkeys(member for name in names for member in self.groups[name].members))
        layouts = {tensor: tuple(map(follow, axes)) for tensor, axes in self.layouts.items()}
        channels = _channels(first.name, members, layouts, self.sizes)
        one = replace(first, size=units, members=members, channels=channels)
        groups = {
            name: one if name == first.name else g for name, g in self.groups.items() if name not in names[1:]
        }
        reductions = tuple(replace(r, layouts=tuple(map(follow, r.layouts))) for r in self.reductions)
        return replace(self, groups=groups, layouts=layouts, ops=ops, reductions=reductions)


def _in_proportion(factor: int | str, inner: Mapping[str, int], name: str) -> tuple[int | str, ...]:
    if not isinstance(factor, str) or factor not in inner:
        return (factor,)
    return (name, inner[factor]) if inner[factor] > 1 else (name,)


def _channels(
    name: str,
    members: Iterable[tuple[str, int]],
    layouts: Mapping[str, tuple[AxisLayout, ...]],
    sizes: Mapping[str, int],
) -> int:
    """Entries that go with one unit of a group: the product of what lies within, where it is smallest."""
    counts = [
        prod(run.shape(sizes)[run.index(name) + 1 :])
        for tensor, axis in members
        for run in layouts[tensor][axis]
        if name in run
    ]
    return min(counts, default=1)


def trace(
    model: nn.Module,
    example: Inputs | Tensor | Sequence[int],
    *,
    training: bool = True,
    strict: bool = False,
) -> Trace:
    """Follow one example through the network and find which sizes move together.

    The network is copied, put in eval mode and exported for the example's shape; the given one is
    not touched.

    Args:
        model: the largest network.
        example: inputs as it takes them; a lone tensor, or its shape, for a network of one input.
        training: whether to follow what only training reads too; the ops are those of evaluation.
        strict: whether a rule that contradicts the graph is an error: for tests of the rules. Otherwise
            it counts as no rule.

    Raises:
        ConversionError: when it does not run on the example, answers with no tensor, or `torch.export`
            can not trace it.
    """
    inputs = Inputs.of(example)
    walked = Walk(exported(model, inputs), ties(model), strict=strict)
    for node in walked.nodes:
        rules.apply(walked, node)
    if training and walked.unread:
        _follow_training(walked, model, inputs)
    return _Names(walked, inputs).trace()


def _follow_training(walked: Walk, model: nn.Module, inputs: Inputs) -> None:
    """Let what training runs say which sizes move together, too; what neither reads stays whole."""
    trained = without_drops(answering(model, training=True))
    batch = training_inputs(inputs)
    why = "neither evaluation nor training reads it"
    try:
        program = torch.export.export(trained, batch.args, dict(batch.kwargs), strict=False)
    except Exception as error:  # torch.export passes on whatever the traced code raises
        why = f"evaluation does not read it, and training can not be traced: {first_line(error)}"
    else:
        walk = Walk(program, ties(model), walked, strict=walked.strict)
        for node in walk.nodes:
            rules.apply(walk, node)
    for name, shape in walked.unread.items():
        if name not in walked.stored:
            walked.stored[name] = tuple(fresh(size) for size in shape)
            rules.fix_all(walked.stored[name], why)


@dataclass
class _Names:
    """Names for the units that are left, and the trace in terms of them."""

    walk: Walk
    example: Inputs
    groups: dict[str, Group] = field(default_factory=dict)
    known: dict[Unit, str] = field(default_factory=dict)

    def trace(self) -> Trace:
        """The trace of the walk."""
        walk = self.walk
        members = self._members()
        for unit, places in members.items():
            if "side" in unit.roles:
                continue
            self._enter(unit, places, _kind(unit))
        kernels = {}
        for tensor, unit in walk.kernels.items():
            self._enter(unit, [], "kernel", tensor.rpartition(".")[0])
            kernels[tensor] = self.known[unit]
        self._squeezes()
        ops = self._ops()
        layouts = {name: tuple(self._extent(axis) for axis in axes) for name, axes in walk.stored.items()}
        sizes = {name: group.size for name, group in self.groups.items()}
        for name, group in self.groups.items():
            self.groups[name] = replace(group, channels=_channels(name, group.members, layouts, sizes))
        return Trace(
            self.groups,
            layouts,
            kernels,
            ops,
            self._calls(),
            self.example.zeros("meta"),
            self._reductions(),
            frozenset(path for node in walk.nodes for path in sequences_of(node)),
        )

    def _may_change(self, layout: AxisLayout) -> bool:
        return any(self.groups[name].fixed is None for name in layout.dims)

    def _reductions(self) -> tuple[Reduction, ...]:
        found = []
        for reduced in self.walk.reduced:
            layouts = tuple(self._extent(reduced.source[dim]) for dim in reduced.dims)
            shape = tuple(map(axis_size, reduced.source))
            if any(map(self._may_change, layouts)):
                found.append(Reduction(op_name(reduced.node), shape, reduced.dims, layouts))
        return tuple(found)

    def _members(self) -> dict[Unit, list[tuple[str, int]]]:
        members: dict[Unit, list[tuple[str, int]]] = {}
        for name, axes in self.walk.stored.items():
            for i, axis in enumerate(axes):
                for unit in dict.fromkeys(units(axis)):
                    members.setdefault(unit, []).append((name, i))
        return members

    def _enter(self, unit: Unit, members: list[tuple[str, int]], kind: str, owner: str | None = None) -> None:
        made_by = (
            owner or next((name for name, axis in members if axis == 0), members[0][0]).rpartition(".")[0]
        )
        what = {"hidden": "width", "squeeze": "width"}.get(kind, kind)
        if kind in ("heads", "head_dim"):
            made_by = made_by.rpartition(".")[0] or made_by
        name, count = f"{made_by}.{what}".lstrip("."), 1
        while name in self.groups:
            count += 1
            name = f"{made_by}.{what}{count}".lstrip(".")
        fixed = unit.fixed or ("sets the scale of the attention" if kind == "head_dim" else None)
        if members and not any(member in self.walk.parameters for member, _ in members):
            fixed = fixed or "no parameter holds it"
        self.known[unit] = name
        self.groups[name] = Group(name, kind, unit.size, tuple(members), fixed)

    def _squeezes(self) -> None:
        """A group that is made from pooled maps of another group and only goes back to it follows it."""
        for unit, name in self.known.items():
            group = self.groups[name]
            if group.kind != "hidden" or "pooled" not in unit.roles or group.fixed:
                continue
            others = {
                factor
                for tensor, axis in group.members
                for i, other in enumerate(self.walk.stored[tensor])
                if i != axis
                for factor in units(other)
            }
            if len(others) == 1 and (parent := next(iter(others))).size >= unit.size:
                within = self.known[parent]
                self.groups[name] = Group(name, "squeeze", group.size, group.members, group.fixed, within)

    def _extent(self, axis: Axis) -> AxisLayout:
        return AxisLayout(
            (self.known[factor] if isinstance(factor, Unit) else factor for factor in run)
            for run in self._known_only(axis)
        )

    def _known_only(self, axis: Axis) -> Axis:
        """Units that no stored tensor holds never change."""
        axis = compressed(axis)
        if all(unit in self.known for unit in units(axis)):
            return axis
        plain = tuple(
            tuple(f.size if isinstance(f, Unit) and f not in self.known else f for f in run) for run in axis
        )
        return compressed(plain)

    def _ops(self) -> tuple[Op, ...]:
        walk = self.walk
        position: dict[Node, int] = {}
        ops: list[Op] = []
        for node in walk.nodes:
            if node.op != "call_function":
                continue
            position[node] = len(ops)
            axes = walk.axes[node]
            macs, counted = counting.macs_of(walk, node, rules.multiplies_nothing(node))
            ops.append(
                Op(
                    name=op_name(node),
                    module=module_of(node),
                    inputs=tuple(position[source] for source in node.all_input_nodes if source in position),
                    tensors=tuple(name for source in node.all_input_nodes if (name := walk.name_of(source))),
                    shape=() if isinstance(axes, list) else tuple(self._extent(axis) for axis in axes),
                    macs=tuple(tuple(self._extent(axis) for axis in part) for part in macs),
                    alias=alias_of(node, position),
                    counted=counted,
                )
            )
        return tuple(ops)

    def _calls(self) -> dict[str, tuple[int, ...]]:
        calls: dict[str, list[int]] = {}
        called = [node for node in self.walk.nodes if node.op == "call_function"]
        for i, node in enumerate(called):
            for path in dict.fromkeys(modules_of(node)):
                calls.setdefault(path, []).append(i)
        return {path: tuple(positions) for path, positions in calls.items()}


def _kind(unit: Unit) -> str:
    for kind in ("head_dim", "heads", "residual"):
        if kind in unit.roles:
            return kind
    return "hidden"
