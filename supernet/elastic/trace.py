"""The traced network: its calls, with every size in terms of dims, and which sizes move together.

`trace` exports the network with `torch.export` and walks the aten graph with one rule per op
(`supernet.elastic.rules`). What no rule knows freezes what it touches; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils._pytree import tree_leaves

from supernet.elastic.cutting import duplicate
from supernet.elastic.groups import Axis, Unit, compressed, fixed, fresh, resolve, units
from supernet.elastic.inputs import Inputs
from supernet.elastic.notes import ties
from supernet.elastic.plan import Extent, Slices
from supernet.elastic.skeleton import bind
from supernet.elastic.trial import training_inputs, without_drops
from supernet.errors import ConversionError, did_you_mean

Axes = tuple[Axis, ...]


@dataclass(frozen=True)
class Op:
    """One call of the traced graph.

    Args:
        name: the aten op, e.g. ``conv2d``, ``linear``, ``matmul``, ``scaled_dot_product_attention``.
        module: path of the innermost module that made the call; "" for the network itself.
        inputs: positions of the ops whose results it reads.
        tensors: names of the parameters and buffers it reads.
        shape: one extent per axis of its result, batch included; a constant is ``((n,),)``. Empty
            for an op of several results: each is read by a ``getitem`` op of its own.
        macs: products of extents whose sum is its multiply-adds; empty when it has none.
    """

    name: str
    module: str
    inputs: tuple[int, ...]
    tensors: tuple[str, ...]
    shape: tuple[Extent, ...]
    macs: tuple[tuple[Extent, ...], ...] = ()


@dataclass(frozen=True)
class Group:
    """Axes that have to change together.

    Args:
        name: path of what made it and what it is: ``"blocks.1.0.conv_pw.width"``. It is the factor
            that stands for the group in the extents of `Trace`.
        kind: ``hidden``, ``squeeze`` (a reduction that gates the group ``within``), ``heads``,
            ``head_dim``, ``stream`` (what residual branches are added to, or what is normalised
            over) or ``kernel`` (side of a depth-wise kernel).
        size: units in the largest network.
        members: ``(tensor, axis)`` of the parameters and buffers that hold it.
        frozen: why it can not change; None when nothing speaks against it.
        within: name of the group a squeeze follows.
        channels: entries of an axis that go with one unit, where they are fewest.
    """

    name: str
    kind: str
    size: int
    members: tuple[tuple[str, int], ...]
    frozen: str | None = None
    within: str | None = None
    channels: int = 1


@dataclass(frozen=True)
class Trace:
    """What a network's graph says about its sizes.

    Args:
        groups: by name, in the order of the graph.
        extents: every parameter and buffer the graph reads, one extent per axis, factors being
            constants and names of groups (frozen ones too).
        kernels: weight of a depth-wise convolution to the ``kernel`` group that is its side.
        ops: every call, in the order of the graph.
        calls: path of every called module to the positions of the ops made inside it.
        example: shapes and types of what it was traced with.
    """

    groups: dict[str, Group]
    extents: dict[str, tuple[Extent, ...]]
    kernels: dict[str, str]
    ops: tuple[Op, ...]
    calls: dict[str, tuple[int, ...]]
    example: Inputs

    def group(self, tensor: str, axis: int = 0) -> Group:
        """The one group that ``axis`` of a parameter or buffer is made of, times what stays whole.

        Raises:
            ConversionError: for an unknown tensor, or an axis of no or several groups.
        """
        if tensor not in self.extents:
            raise ConversionError(f"the graph reads no tensor {tensor!r}{did_you_mean(tensor, self.extents)}")
        extent = self.extents[tensor][axis]
        names = dict.fromkeys(factor for run in extent for factor in run if isinstance(factor, str))
        names = {name: None for name in names if self.groups[name].frozen is None} or names
        if len(names) != 1:
            raise ConversionError(f"axis {axis} of {tensor!r} is {extent}: not of exactly one group")
        return self.groups[next(iter(names))]

    def tied(self, names: Sequence[str], units: int) -> Trace:
        """The trace in which these groups move in proportion: as one of ``units``, named as the first."""
        first = self.groups[names[0]]
        inner = {name: self.groups[name].size // units for name in names}

        def follow(extent: Extent) -> Extent:
            return tuple(
                tuple(g for f in run for g in _in_proportion(f, inner, first.name)) for run in extent
            )

        ops = tuple(
            replace(
                op,
                shape=tuple(map(follow, op.shape)),
                macs=tuple(tuple(map(follow, product)) for product in op.macs),
            )
            for op in self.ops
        )
        members = tuple(dict.fromkeys(member for name in names for member in self.groups[name].members))
        extents = {tensor: tuple(map(follow, axes)) for tensor, axes in self.extents.items()}
        sizes = {name: group.size for name, group in self.groups.items()}
        channels = _channels(first.name, members, extents, sizes)
        one = replace(first, size=units, members=members, channels=channels)
        groups = {
            name: one if name == first.name else g for name, g in self.groups.items() if name not in names[1:]
        }
        return replace(self, groups=groups, extents=extents, ops=ops)


def _in_proportion(factor: int | str, inner: Mapping[str, int], name: str) -> tuple[int | str, ...]:
    if not isinstance(factor, str) or factor not in inner:
        return (factor,)
    return (name, inner[factor]) if inner[factor] > 1 else (name,)


def _channels(
    name: str,
    members: Iterable[tuple[str, int]],
    extents: Mapping[str, tuple[Extent, ...]],
    sizes: Mapping[str, int],
) -> int:
    """Entries that go with one unit of a group: the product of what lies within, where it is smallest."""
    counts = [
        prod(sizes[factor] if isinstance(factor, str) else factor for factor in run[run.index(name) + 1 :])
        for tensor, axis in members
        for run in extents[tensor][axis]
        if name in run
    ]
    return min(counts, default=1)


def trace(model: nn.Module, example: Inputs | Tensor | Sequence[int], *, training: bool = True) -> Trace:
    """Follow one example through the network and find which sizes move together.

    The network is copied, put in eval mode and exported for the example's shape; the given one is
    not touched.

    Args:
        model: the largest network.
        example: inputs as it takes them; a lone tensor, or its shape, for a network of one input.
        training: whether to follow what only training reads too; the ops are those of evaluation.

    Raises:
        ConversionError: when it does not run on the example, answers with no tensor, or `torch.export`
            can not trace it.
    """
    from supernet.elastic import rules, rules_shape  # noqa: F401  (its rules register themselves)

    inputs = Inputs.of(example)
    walked = Walk(_export(model, inputs), ties(model))
    for node in walked.nodes:
        rules.apply(walked, node)
    if training and walked.unread:
        _follow_training(walked, model, inputs)
    return _Names(walked, inputs).trace()


def _follow_training(walked: Walk, model: nn.Module, inputs: Inputs) -> None:
    """Let what training runs say which sizes move together, too; what neither reads stays whole."""
    from supernet.elastic import rules

    trained = without_drops(bind(model, Slices({}, frozenset()), training=True, own=True))
    batch = training_inputs(inputs)
    why = "neither evaluation nor training reads it"
    try:
        program = torch.export.export(trained, batch.args, dict(batch.kwargs), strict=False)
    except Exception as error:  # torch.export passes on whatever the traced code raises
        why = f"evaluation does not read it, and training can not be traced: {_first_line(error)}"
    else:
        walk = Walk(program, ties(model), walked)
        for node in walk.nodes:
            rules.apply(walk, node)
    for name, shape in walked.unread.items():
        if name not in walked.stored:
            walked.stored[name] = tuple(fresh(size) for size in shape)
            rules.freeze_all(walked.stored[name], why)


def _export(model: nn.Module, example: Inputs) -> ExportedProgram:
    """The exported network; its weights are not copied, and it only runs for real to say why that fails."""
    shared = bind(model, Slices({}, frozenset()), training=False)
    failed: Exception | None = None
    try:
        program = torch.export.export(shared, example.args, dict(example.kwargs), strict=False)
        if any(
            isinstance(node.meta.get("val"), Tensor) for node in program.graph.output_node().all_input_nodes
        ):
            return program
    except Exception as error:  # torch.export passes on whatever the traced code raises
        failed = error
    with does_not_run(model, example), torch.no_grad():
        outputs = example.call(duplicate(model).eval())
    if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(outputs)):
        raise ConversionError(
            f"{type(model).__name__} answers with {type(outputs).__name__}, which holds no tensor; "
            f"wrap it in a module that returns the tensors"
        )
    raise ConversionError(
        f"{type(model).__name__} can not be made elastic: torch.export does not trace it with an example "
        f"{example}: {type(failed).__name__}: {_first_line(failed) if failed else ''}"
    ) from failed


@contextmanager
def does_not_run(model: nn.Module, example: Inputs) -> Iterator[None]:
    """What a network raises when it is run on an example, as an error that says so.

    Raises:
        ConversionError: instead of what was raised.
    """
    try:
        yield
    except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
        raise ConversionError(
            f"{type(model).__name__} does not run on the example {example}: {_first_line(error)}; "
            f"give one it takes, batch first"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


class Walk:
    """A walk over an exported graph: the axes of every result so far, which rules read and write.

    Args:
        program: the exported network.
        ties: further names of parameters and buffers that have several, to the first.
        before: a walk over another graph of the same network, which this one goes on with.
    """

    def __init__(self, program: ExportedProgram, ties: Mapping[str, str], before: Walk | None = None) -> None:
        signature = program.graph_signature
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self.names: dict[str, str] = {node: ties.get(name, name) for node, name in names.items()}
        self.nodes: list[Node] = _inlined(program)
        self.axes: dict[Node, Axes | list[Axes]] = {}
        self.stored: dict[str, Axes] = before.stored if before else {}
        self.kernels: dict[str, Unit] = before.kernels if before else {}
        self.unread: dict[str, tuple[int, ...]] = self._unread()
        """Parameters and buffers that the graph does not read, with their shapes."""
        self.macs: dict[Node, tuple[tuple[Axis, ...], ...]] = {}

    def _unread(self) -> dict[str, tuple[int, ...]]:
        found = {self.names[n.name]: shape_of(n) for n in self.nodes if n.name in self.names}
        read = {self.names[node.name] for node in self.nodes if node.name in self.names and node.users}
        return {name: shape for name, shape in found.items() if name not in read}

    def of(self, node: Node) -> Axes:
        """The axes of a tensor, resolved."""
        axes = self.axes[node]
        if isinstance(axes, list):
            raise TypeError(f"{node} has several results")
        return tuple(resolve(axis) for axis in axes)

    def tensor_inputs(self, node: Node) -> list[Node]:
        """The tensors a node reads."""
        return [source for source in node.all_input_nodes if isinstance(source.meta.get("val"), Tensor)]

    def placeholder(self, node: Node) -> Axes:
        """The axes of an input: nothing is known yet about a stored tensor, and all about the rest."""
        value = node.meta.get("val")
        if not isinstance(value, Tensor):
            return ()
        name = self.names.get(node.name)
        if name is None or name in self.unread:
            return tuple(fixed(size) for size in value.shape)
        if name not in self.stored:
            self.stored[name] = tuple(fresh(size) for size in value.shape)
        return self.stored[name]

    def name_of(self, node: object) -> str | None:
        """Name of the parameter or buffer behind a node; None when it is neither."""
        return self.names.get(node.name) if isinstance(node, Node) and node.op == "placeholder" else None


def _inlined(program: ExportedProgram) -> list[Node]:
    """The nodes of the graph, with those of wrapped regions (autocast, no_grad) in their place."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.op != "call_function" or not op_name(node).startswith("wrap_with_"):
            continue
        at = next(i for i, arg in enumerate(node.args) if isinstance(arg, Node) and arg.op == "get_attr")
        region = program.graph_module.get_submodule(str(node.args[at].target))
        values: dict[Node, Any] = {}
        given = iter(node.args[at + 1 :])
        with graph.inserting_before(node):
            for inner in region.graph.nodes:
                if inner.op == "placeholder":
                    values[inner] = next(given)
                elif inner.op != "output":
                    values[inner] = graph.node_copy(inner, values.__getitem__)
                else:
                    results = [values[result] for result in inner.args[0]]
        for user in list(node.users):
            user.replace_all_uses_with(results[user.args[1]])
            graph.erase_node(user)
        graph.erase_node(node)
    return list(graph.nodes)


def shape_of(node: Node) -> tuple[int, ...]:
    """The shape of a node's result in the largest network."""
    return tuple(int(size) for size in node.meta["val"].shape)


def module_of(node: Node) -> str:
    """Path of the innermost module that made the call."""
    stack = node.meta.get("nn_module_stack") or {"": ("", None)}
    return str(list(stack.values())[-1][0])


def modules_of(node: Node) -> Iterator[str]:
    """Paths of all modules the call was made in."""
    yield from (str(path) for path, _ in (node.meta.get("nn_module_stack") or {}).values())


@dataclass
class _Names:
    """Names for the units that are left, and the trace in terms of them."""

    walk: Walk
    example: Inputs
    groups: dict[str, Group] = field(default_factory=dict)
    known: dict[Unit, str] = field(default_factory=dict)

    def trace(self) -> Trace:
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
        extents = {name: tuple(self._extent(axis) for axis in axes) for name, axes in walk.stored.items()}
        sizes = {name: group.size for name, group in self.groups.items()}
        for name, group in self.groups.items():
            self.groups[name] = replace(group, channels=_channels(name, group.members, extents, sizes))
        return Trace(
            self.groups,
            extents,
            kernels,
            ops,
            self._calls(),
            self.example.zeros("meta"),
        )

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
        frozen = unit.frozen or ("sets the scale of the attention" if kind == "head_dim" else None)
        self.known[unit] = name
        self.groups[name] = Group(name, kind, unit.size, tuple(members), frozen)

    def _squeezes(self) -> None:
        """A group that is made from pooled maps of another group and only goes back to it follows it."""
        for unit, name in self.known.items():
            group = self.groups[name]
            if group.kind != "hidden" or "pooled" not in unit.roles or group.frozen:
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
                self.groups[name] = Group(name, "squeeze", group.size, group.members, group.frozen, within)

    def _extent(self, axis: Axis) -> Extent:
        return tuple(
            tuple(self.known[factor] if isinstance(factor, Unit) else factor for factor in run)
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
            ops.append(
                Op(
                    name=op_name(node),
                    module=module_of(node),
                    inputs=tuple(position[source] for source in node.all_input_nodes if source in position),
                    tensors=tuple(name for source in node.all_input_nodes if (name := walk.name_of(source))),
                    shape=() if isinstance(axes, list) else tuple(self._extent(axis) for axis in axes),
                    macs=tuple(
                        tuple(self._extent(axis) for axis in part) for part in walk.macs.get(node, ())
                    ),
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
    for kind in ("head_dim", "heads", "stream"):
        if kind in unit.roles:
            return kind
    return "hidden"


def op_name(node: Node) -> str:
    """The aten op of a node without its overload, e.g. ``conv2d``."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.split("::")[-1]
    return str(getattr(target, "__name__", target))
