"""A walk over an exported graph: what is known about the axes of every result so far.

Rules (`supernet.elastic.rules`) read and write a `Walk`; `supernet.elastic.trace` makes a trace of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from supernet.elastic.groups import Axis, Unit, fixed, fresh, resolve
from supernet.errors import ConversionError

Axes = tuple[Axis, ...]


@dataclass(frozen=True)
class Reduced:
    """A call that takes a mean (or a sum, a maximum ...) over axes which may be elastic.

    Args:
        node: the call.
        source: axes of what it reduces.
        dims: positions of the reduced ones, ascending.
    """

    node: Node
    source: Axes
    dims: tuple[int, ...]


class Walk:
    """What is known about every result so far.

    Args:
        program: the exported network.
        ties: further names of parameters and buffers that have several, to the first.
        before: a walk over another graph of the same network, which this one goes on with.
        strict: whether a rule that contradicts the graph is an error, rather than one rule less.
    """

    def __init__(
        self,
        program: ExportedProgram,
        ties: Mapping[str, str],
        before: Walk | None = None,
        *,
        strict: bool = False,
    ) -> None:
        signature = program.graph_signature
        self.strict = strict
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self.names: dict[str, str] = {node: ties.get(name, name) for node, name in names.items()}
        self.parameters = {ties.get(name, name) for name in signature.inputs_to_parameters.values()}
        self.nodes: list[Node] = _inlined(program.graph_module)
        self.idle = _idle(self.nodes)
        """Calls whose results reach no output."""
        self.axes: dict[Node, Axes | list[Axes]] = {}
        self.stored: dict[str, Axes] = before.stored if before else {}
        self.kernels: dict[str, Unit] = before.kernels if before else {}
        self.unread: dict[str, tuple[int, ...]] = self._unread()
        """Parameters and buffers that the graph does not read, with their shapes."""
        self.macs: dict[Node, tuple[tuple[Axis, ...], ...]] = {}
        self.reduced: list[Reduced] = []
        self.origins: dict[Node, frozenset[Node]] = {}
        """The calls with weights (and the sums of several paths) that each result was computed from,
        entry by entry: where two sets meet in a sum, a residual path begins."""

    def _unread(self) -> dict[str, tuple[int, ...]]:
        found = {self.names[n.name]: shape_of(n) for n in self.nodes if n.name in self.names}
        read = {self.names[node.name] for node in self.nodes if node.name in self.names and node.users}
        return {name: shape for name, shape in found.items() if name not in read}

    def of(self, node: Node) -> Axes:
        """The axes of a tensor, resolved."""
        axes = self.axes.get(node)
        if axes is None:
            return tuple(fixed(size) for size in shape_of(node))
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
            return tuple(fixed(size) for size in shape_of(node))
        if name not in self.stored:
            self.stored[name] = tuple(fresh(size) for size in value.shape)
        return self.stored[name]

    def name_of(self, node: object) -> str | None:
        """Name of the parameter or buffer behind a node; None when it is neither."""
        return self.names.get(node.name) if isinstance(node, Node) and node.op == "placeholder" else None

    def note_origins(self, node: Node) -> None:
        """Remember what a result was computed from; a call that multiplies weights starts afresh."""
        if self.name_of(node) is not None:
            self.origins[node] = frozenset()
        elif node.op == "placeholder" or self.macs.get(node) or op_name(node).startswith("embedding"):
            self.origins[node] = frozenset((node,))
        elif node not in self.origins:
            read = (self.origins.get(source, frozenset()) for source in node.all_input_nodes)
            self.origins[node] = frozenset().union(*read)

    def meet(self, node: Node, sources: list[Node]) -> bool:
        """Whether a sum joins paths that passed different weights: x + f(x), but not x + tanh(x)."""
        sets = [self.origins.get(source, frozenset()) for source in sources]
        apart = any(not (a <= b or b <= a) for i, a in enumerate(sets) for b in sets[:i])
        if apart:
            self.origins[node] = frozenset((node,))
        return apart


def _idle(nodes: list[Node]) -> frozenset[Node]:
    """Calls whose results reach no output."""
    read: set[Node] = set()
    for node in reversed(nodes):
        if node.op == "output" or node in read or _changes_its_input(node):
            read.update(node.all_input_nodes)
            read.add(node)
    return frozenset(node for node in nodes if node.op == "call_function" and node not in read)


def _changes_its_input(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _inlined(module: GraphModule) -> list[Node]:
    """The nodes of the graph, with those of wrapped regions (autocast, no_grad) in their place."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.op != "call_function" or not op_name(node).startswith("wrap_with_"):
            continue
        at = next(i for i, arg in enumerate(node.args) if isinstance(arg, Node) and arg.op == "get_attr")
        region: Any = module.get_submodule(str(node.args[at].target))
        values: dict[Any, Any] = {}
        given = iter(node.args[at + 1 :])
        results: list[Any] = []
        with graph.inserting_before(node):
            for inner in _inlined(region):
                if inner.op == "placeholder":
                    values[inner] = next(given)
                elif inner.op == "output":
                    results = [values.get(result, result) for result in inner.args[0]]  # type: ignore[union-attr]
                else:
                    values[inner] = graph.node_copy(inner, values.__getitem__)
        for user in list(node.users):
            user.replace_all_uses_with(results[user.args[1]])
            graph.erase_node(user)
        graph.erase_node(node)
    return list(graph.nodes)


def shape_of(node: Node) -> tuple[int, ...]:
    """The shape of a node's result in the largest network; () for what is no tensor.

    Raises:
        ConversionError: when it depends on the values of the input.
    """
    value = node.meta.get("val")
    return sizes_of(value, node) if isinstance(value, Tensor) else ()


def sizes_of(value: Tensor, node: Node) -> tuple[int, ...]:
    """The shape of one of a node's results.

    Raises:
        ConversionError: when it depends on the values of the input.
    """
    for size in value.shape:
        if not isinstance(size, int) and not size.node.has_hint():
            raise ConversionError(
                f"the size of what {op_name(node)} in {module_of(node) or 'the network'} answers depends on the "
                f"values of the input; such a network can not be made elastic"
            )
    return tuple(int(size) for size in value.shape)


def module_of(node: Node) -> str:
    """Path of the innermost module that made the call."""
    stack = node.meta.get("nn_module_stack") or {"": ("", None)}
    return str(list(stack.values())[-1][0])


def modules_of(node: Node) -> Iterator[str]:
    """Paths of all modules the call was made in."""
    yield from (str(path) for path, _ in (node.meta.get("nn_module_stack") or {}).values())


def sequences_of(node: Node) -> Iterator[str]:
    """Paths of those that are a `torch.nn.Sequential` itself."""
    for path, kind in (node.meta.get("nn_module_stack") or {}).values():
        name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        if name == "torch.nn.modules.container.Sequential":
            yield str(path)


def op_name(node: Node) -> str:
    """The aten op of a node without its overload, e.g. ``conv2d``."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return str(target._schema.name.split("::")[-1])
    return str(getattr(target, "__name__", target))


def alias_of(node: Node, position: Mapping[Node, int]) -> int | None:
    """Position of the op whose memory a result is, -1 for that of an input or a parameter."""
    own = node.meta.get("val")
    if not isinstance(own, Tensor):
        return None
    read = node.all_input_nodes
    # The parts that `split` makes are one `getitem` further away from what they are parts of.
    read = [*read, *(far for near in read if near.op == "call_function" for far in near.all_input_nodes)]
    for source in read if op_name(node) == "getitem" else node.all_input_nodes:
        value = source.meta.get("val")
        if isinstance(value, Tensor) and _memory(value) == _memory(own):
            return position.get(source, -1)
    return None


def _memory(value: Tensor) -> int:
    return int(value.untyped_storage()._cdata)
