"""What each aten op does to the axes of its inputs: one rule per op.

A rule gets the walk and the node and returns the axes of the result (a list of them for an op of
several results). It ties what the op lines up and freezes what it cannot follow. An op without a
rule freezes all it reads; the report then says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import Node

from supernet.elastic.groups import Axis, Unit, axis_size, fixed, freeze, mark, tie
from supernet.elastic.trace import Axes, Walk, op_name, shape_of
from supernet.registry import Registry

Rule = Callable[[Walk, Node, dict[str, Any]], Axes | list[Axes]]
rules = Registry[Rule]("rule", group="supernet.rules")


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register one rule for the ops of these names."""

    def enter(function: Rule) -> Rule:
        for name in names:
            rules.register(name)(function)
        return function

    return enter


def apply(walk: Walk, node: Node) -> None:
    """Follow one node of the graph."""
    if node.op == "placeholder":
        walk.axes[node] = walk.placeholder(node)
    elif node.op == "output":
        for source in walk.tensor_inputs(node):
            freeze_all(walk.of(source), "it is the output")
    elif node.op == "call_function":
        name = op_name(node)
        axes = _rule_of(name, node)(walk, node, arguments(node))
        walk.axes[node] = axes if isinstance(axes, list) else checked(node, axes)


def _rule_of(name: str, node: Node) -> Rule:
    """The rule of that name; an op in place has that of its pure form; what is pointwise needs none."""
    for form in (name, name.removesuffix("_")):
        if form in rules:
            return rules[form]
        packet = getattr(torch.ops.aten, form, None)
        overload = getattr(packet, str(getattr(node.target, "_overloadname", "")), None)
        if overload is None and packet is not None:
            overload = getattr(packet, "default", None)
        if torch.Tag.pointwise in getattr(overload, "tags", ()) and isinstance(
            node.meta.get("val"), torch.Tensor
        ):
            return pointwise
    return unknown


def checked(node: Node, axes: Axes) -> Axes:
    """The axes of a result, after making sure that they are those of its shape."""
    shape = shape_of(node) if isinstance(node.meta.get("val"), torch.Tensor) else ()
    sizes = tuple(axis_size(axis) for axis in axes)
    assert sizes == shape, f"the rule of {op_name(node)} at {node.name} says {sizes}, the result is {shape}"
    return axes


def arguments(node: Node) -> dict[str, Any]:
    """The arguments of an aten call by the names of its schema, defaults filled in."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return dict(enumerate(node.args))  # type: ignore[arg-type]
    given = {a.name: a.default_value for a in target._schema.arguments if a.has_default_value()}
    given |= {a.name: value for a, value in zip(target._schema.arguments, node.args)}
    return given | dict(node.kwargs)


def freeze_all(axes: Sequence[Axis], why: str) -> None:
    """Freeze every axis of a tensor."""
    for axis in axes:
        freeze(axis, why)


def unknown(walk: Walk, node: Node, args: dict[str, Any]) -> Axes | list[Axes]:
    """No rule: whatever is read stays whole."""
    for source in walk.tensor_inputs(node):
        axes = walk.axes[source]
        for each in axes if isinstance(axes, list) else [axes]:
            freeze_all(each, f"no rule for the op {op_name(node)}")
    value = node.meta.get("val")
    if isinstance(value, tuple | list):
        return [tuple(fixed(int(n)) for n in v.shape) if isinstance(v, torch.Tensor) else () for v in value]
    return tuple(fixed(size) for size in shape_of(node)) if isinstance(value, torch.Tensor) else ()


@rule("_assert_tensor_metadata", "_assert_scalar", "_assert_async", "sym_constrain_range_for_size")
def assertion(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Says something about a tensor and makes none."""
    return ()


@rule("getitem")
def getitem(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    source, index = node.args
    results = walk.axes[source]  # type: ignore[index]
    assert isinstance(results, list)
    return results[index]  # type: ignore[index]


@rule(
    *("clone", "contiguous", "dropout", "alias", "_to_copy", "to", "detach", "type_as", "feature_dropout"),
    *("lift_fresh_copy", "hardswish", "hardsigmoid", "hardtanh", "relu6", "silu", "mish", "gelu", "prelu"),
)
def pointwise(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Entry by entry, with broadcasting: axes that lie over each other become one."""
    return broadcast(walk, node, walk.tensor_inputs(node), op_name(node))


def broadcast(walk: Walk, node: Node, sources: Sequence[Node], why: str, ranks: int | None = None) -> Axes:
    """The axes of a result that inputs are broadcast to; ties what lies over each other."""
    shape = shape_of(node)
    out: list[Axis] = [fixed(size) for size in shape]
    adding = why in ("add", "add_", "sub") and sum(walk.name_of(source) is None for source in sources) > 1
    for source in sources:
        axes = walk.of(source)
        for i, axis in enumerate(axes, start=len(shape) - len(axes)):
            if axis_size(axis) != shape[i] or shape[i] == 1:
                continue
            if not any(
                axis_size(walk.of(other)[i - len(shape)]) == shape[i]
                for other in sources[: sources.index(source)]
                if len(walk.of(other)) >= len(shape) - i
            ):
                out[i] = axis
                continue
            tie(out[i], axis, why)
            if adding:
                mark(out[i], "stream")
    return tuple(out)


@rule("conv1d", "conv2d", "conv3d", "convolution")
def convolution(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Output channels are made by the weight, input channels consumed; groups move as wholes."""
    source, kernel, bias = args["input"], args["weight"], args["bias"]
    if args.get("transposed"):
        return unknown(walk, node, args)  # type: ignore[return-value]
    x, weight, groups = walk.of(source), walk.of(kernel), args["groups"]
    shape = shape_of(node)
    for axis in weight[2:]:
        freeze(axis, "it is a side of a kernel")
        mark(axis, "side")
    if groups == 1:
        tie(x[1], weight[1], "conv")
        out = weight[0]
    else:
        out = _grouped(x[1], weight, groups)
    if isinstance(bias, Node):
        tie(walk.of(bias)[0], out, "bias")
    if shape[2:] == (1,) * (len(shape) - 2):
        mark(out, "pooled")
    freeze_all(x[2:], "a convolution slides over it")
    spatial = tuple(fixed(size) for size in shape[2:])
    name = walk.name_of(kernel)
    sides: Axes = tuple(fixed(size) for size in shape_of(kernel)[2:])
    if name is not None and 1 < groups == shape[1] and _croppable(shape_of(kernel)[2:]):
        unit = walk.kernels.setdefault(name, Unit(shape_of(kernel)[2]))
        sides = tuple(((unit,),) for _ in sides)
    walk.macs[node] = ((x[0], out, *spatial, weight[1], *sides),)
    return (x[0], out, *spatial)


def _croppable(sides: tuple[int, ...]) -> bool:
    return len(sides) == 2 and sides[0] == sides[1] > 3 and sides[0] % 2 == 1


def _grouped(channels: Axis, weight: Axes, groups: int) -> Axis:
    """Channels in groups: a group keeps its channels, and the output comes in as many groups."""
    wide, into = axis_size(weight[0]), axis_size(weight[1])
    each = wide // groups
    if into == 1:
        parts: Axis = channels
    else:
        unit = Unit(groups)
        freeze(weight[1], "it is inside a group of a convolution")
        tie(channels, ((unit, into),), "groups of a convolution")
        parts = ((unit,),)
    tie(weight[0], tuple((*run, each) for run in parts), "groups of a convolution")
    return weight[0]


@rule("linear")
def linear(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    x, weight, bias = walk.of(args["input"]), walk.of(args["weight"]), args["bias"]
    tie(x[-1], weight[1], "linear")
    if isinstance(bias, Node):
        tie(walk.of(bias)[0], weight[0], "bias")
    if len(x) == 2:
        mark(weight[0], "pooled")
    walk.macs[node] = ((*x[:-1], weight[0], weight[1]),)
    return (*x[:-1], weight[0])


@rule("addmm", "baddbmm")
def addmm(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    first, second = (
        walk.of(args[key]) for key in (("mat1", "mat2") if "mat1" in args else ("batch1", "batch2"))
    )
    out = _product(walk, node, first, second, "addmm")
    added = walk.of(args["self"])
    for axis, over in zip(reversed(added), reversed(out)):
        if axis_size(axis) == axis_size(over):
            tie(axis, over, "addmm")
    return out


@rule("matmul", "bmm", "mm")
def matmul(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    keys = ("self", "other") if "other" in args else ("self", "mat2")
    first, second = (args[key] for key in keys)
    return _product(walk, node, walk.of(first), walk.of(second), "matmul")


def _product(walk: Walk, node: Node, first: Axes, second: Axes, why: str) -> Axes:
    if len(first) < 2 or len(second) < 2:
        freeze_all((*first, *second), "it meets a vector")
        return tuple(fixed(size) for size in shape_of(node))
    tie(first[-1], second[-2], why)
    shape = shape_of(node)
    batch: list[Axis] = []
    for i in range(-len(shape), -2):
        over = [axes[i] for axes in (first, second) if len(axes) >= -i and axis_size(axes[i]) == shape[i]]
        if len(over) == 2:
            tie(over[0], over[1], why)
        batch.append(over[0] if over else fixed(shape[i]))
    if len(shape) > 2:
        mark(first[-1], "head_dim")
        for axis in batch[1:]:
            mark(axis, "heads")
    out = (*batch, first[-2], second[-1])
    walk.macs[node] = ((*out, first[-1]),)
    return out


@rule("scaled_dot_product_attention")
def attention(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Queries, keys and values ``(..., heads, tokens, head_dim)``; the bias lies over heads and tokens."""
    query, key, value = (walk.of(args[name]) for name in ("query", "key", "value"))
    shape = shape_of(node)
    tie(query[-1], key[-1], "attention")
    tie(key[-2], value[-2], "attention")
    mark(query[-1], "head_dim")
    freeze(key[-2], "a softmax runs over it")
    batch: list[Axis] = []
    for i in range(-len(shape), -2):
        over = [axes[i] for axes in (query, key, value) if axis_size(axes[i]) == shape[i]]
        for other in over[1:]:
            tie(over[0], other, "attention")
        batch.append(over[0])
    for axis in batch[1:]:
        mark(axis, "heads")
    out = (*batch, query[-2], value[-1])
    if isinstance(args.get("attn_mask"), Node):
        bias, scores = walk.of(args["attn_mask"]), (*batch, query[-2], key[-2])
        for axis, over_axis in zip(reversed(bias), reversed(scores)):
            if axis_size(axis) == axis_size(over_axis):
                tie(axis, over_axis, "attention bias")
    walk.macs[node] = ((*batch, query[-2], key[-2], query[-1]), (*batch, query[-2], key[-2], value[-1]))
    return out


@rule("batch_norm", "instance_norm")
def batch_norm(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Statistics of the batch, as weight standardisation takes them, are about every entry of a channel."""
    axes = walk.of(args["input"])
    if args.get("training"):
        freeze_all((*axes[:1], *axes[2:]), "weights are standardised over it")
    for name in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(args.get(name), Node):
            tie(walk.of(args[name])[0], axes[1], "batch norm")
    return walk.of(args["input"])


@rule("layer_norm", "rms_norm")
def layer_norm(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    axes = walk.of(args["input"])
    last = axes[len(axes) - len(args["normalized_shape"]) :]
    affine = [walk.of(args[name]) for name in ("weight", "bias") if isinstance(args.get(name), Node)]
    for stored in affine:
        for axis, over in zip(stored, last):
            tie(axis, over, "layer norm")
    for axis in last:
        mark(axis, "stream")
        if not affine:
            freeze(axis, "a norm without weights keeps its size")
    return walk.of(args["input"])


@rule("group_norm")
def group_norm(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    axes, groups = walk.of(args["input"]), args["num_groups"]
    size = axis_size(axes[1])
    for name in ("weight", "bias"):
        if isinstance(args.get(name), Node):
            tie(walk.of(args[name])[0], axes[1], "group norm")
    if groups == 1:
        mark(axes[1], "stream")
    else:
        tie(axes[1], ((Unit(groups), size // groups),), "groups of a norm")
    freeze_all(axes[2:], "a norm runs over it")
    return walk.of(args["input"])


@rule(
    "softmax",
    "_softmax",
    "log_softmax",
    "_safe_softmax",
    "cumsum",
    "sort",
    "argsort",
    "flip",
    "roll",
    "logcumsumexp",
)
def over_one_axis(walk: Walk, node: Node, args: dict[str, Any]) -> Axes | list[Axes]:
    """Mixes the entries of some axes, which therefore stay whole, and keeps the shape."""
    axes = walk.of(args["self"])
    which = args.get("dims", args.get("dim"))
    for dim in (which or range(len(axes))) if isinstance(which, list | tuple) else [which]:
        freeze(axes[-1 if dim is None else dim], f"{op_name(node)} mixes it")
    out = walk.of(args["self"])
    value = node.meta["val"]
    return [out] * len(value) if isinstance(value, tuple | list) else out


@rule(
    "mean",
    "sum",
    "amax",
    "amin",
    "var",
    "std",
    "prod",
    "logsumexp",
    "linalg_vector_norm",
    "norm",
    "max",
    "min",
    "any",
    "all",
    "argmax",
    "argmin",
    "var_mean",
    "std_mean",
)
def reduction(walk: Walk, node: Node, args: dict[str, Any]) -> Axes | list[Axes]:
    """Reduced axes are gone; a sum forgets nothing about entries that are zero, anything else may."""
    (source, *others) = walk.tensor_inputs(node)
    axes = walk.of(source)
    if others:
        return pointwise(walk, node, args)
    which = args.get("dim")
    which = list(range(len(axes))) if which in (None, []) else which
    dims = {dim % len(axes) for dim in (which if isinstance(which, list | tuple) else [which])}
    for dim in dims:
        if op_name(node) not in ("sum", "linalg_vector_norm"):
            freeze(axes[dim], f"{op_name(node)} runs over it")
    keep = args.get("keepdim", False)
    axes = walk.of(source)
    out = tuple(fixed(1) if i in dims else axis for i, axis in enumerate(axes) if keep or i not in dims)
    return [out, out] if isinstance(node.meta["val"], tuple | list) else out


def spatial(rank: int) -> Rule:
    """A map is resized or pooled over its last ``rank`` axes."""

    def resized(walk: Walk, node: Node, args: dict[str, Any]) -> Axes | list[Axes]:
        axes = walk.of(walk.tensor_inputs(node)[0])
        freeze_all(axes[-rank:], f"{op_name(node)} slides over it")
        several = isinstance(node.meta["val"], tuple | list)
        shape = node.meta["val"][0].shape if several else node.meta["val"].shape
        out = (*axes[:-rank], *(fixed(int(size)) for size in shape[-rank:]))
        return [out] * len(node.meta["val"]) if several else out

    return resized


for _rank, _names in {
    1: ("avg_pool1d", "max_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool1d"),
    2: (
        *(
            "avg_pool2d",
            "max_pool2d",
            "adaptive_avg_pool2d",
            "adaptive_max_pool2d",
            "max_pool2d_with_indices",
        ),
        *("upsample_bilinear2d", "upsample_nearest2d", "upsample_bicubic2d", "_upsample_bicubic2d_aa"),
        *("_upsample_bilinear2d_aa", "_adaptive_avg_pool2d", "_upsample_nearest_exact2d"),
    ),
}.items():
    rule(*_names)(spatial(_rank))
