"""What each aten op does to the axes of its inputs: one rule per op.

A rule gets the walk and the node and returns the axes of the result (a list of them for an op of
several results). It ties what the op lines up and fixes what it cannot follow. An op without a
rule fixes all it reads; the report then says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import Node

from supernet.elastic.counting import is_pointwise
from supernet.elastic.groups import Axis, Unit, axis_size, fix, fixed, mark, tie
from supernet.elastic.walk import Axes, Reduced, Walk, op_name, shape_of, sizes_of
from supernet.errors import ConversionError
from supernet.registry import Registry

log = logging.getLogger(__name__)

Rule = Callable[[Walk, Node, dict[str, Any]], Axes | list[Axes]]
rules = Registry[Rule](
    "rule",
    modules=("supernet.elastic.rules_product", "supernet.elastic.rules_shape"),
    group="supernet.rules",
)
products: set[str] = set()
"""Names of the ops whose rules say how often they multiply; those of all others declare that they do not."""


def rule(*names: str, multiplies: bool = False) -> Callable[[Rule], Rule]:
    """Register one rule for the ops of these names.

    Args:
        multiplies: whether the rule notes multiply-adds in ``walk.macs``.
    """

    def enter(function: Rule) -> Rule:
        """The rule itself, registered under each of the names."""
        for name in names:
            rules.register(name)(function)
        products.update(names if multiplies else ())
        return function

    return enter


MISFITS = (LookupError, TypeError, ValueError, AttributeError, AssertionError)
"""What a rule raises that meets a call it was not written for."""


def apply(walk: Walk, node: Node) -> None:
    """Follow one node of the graph."""
    if node.op == "placeholder":
        walk.axes[node] = walk.placeholder(node)
    elif node.op == "output":
        for source in walk.tensor_inputs(node):
            fix_all(walk.of(source), "it is the output")
    elif node.op == "call_function":
        walk.axes[node] = whole(node) if _says_nothing(walk, node) else followed(walk, node)
    walk.note_origins(node)


def _says_nothing(walk: Walk, node: Node) -> bool:
    """Whether a result is never used and its rule multiplies nothing: it keeps nothing whole either."""
    return node in walk.idle and not (op_name(node) in rules and op_name(node) in products)


def multiplies_nothing(node: Node) -> bool:
    """Whether the rule of a call declares that it has no multiply-adds."""
    return any(form in rules and form not in products for form in _forms(op_name(node)))


def _forms(name: str) -> tuple[str, ...]:
    """Names that a rule of an op is looked up by: an op in place has that of its pure form."""
    return name, name.removesuffix("_")


def followed(walk: Walk, node: Node) -> Axes | list[Axes]:
    """What the rule of a call says about its result; a rule that contradicts the graph counts as none.

    Raises:
        AssertionError: when it does and the walk is strict; or whatever else the rule raises then.
    """
    name = op_name(node)
    try:
        axes = _rule_of(name, node)(walk, node, arguments(node))
        _check(node, axes)
    except MISFITS as error:
        if walk.strict or isinstance(error, ConversionError):
            raise
        log.warning("the rule of the op %s does not fit the call %s: %r", name, node.name, error)
        walk.macs.pop(node, None)
        return keep_whole(walk, node, f"the rule of the op {name} does not fit its call {node.name}")
    return axes


def _rule_of(name: str, node: Node) -> Rule:
    """The rule of that name; what is pointwise needs none."""
    for form in _forms(name):
        if form in rules:
            return rules[form]
    if is_pointwise(node) and isinstance(node.meta.get("val"), torch.Tensor):
        return pointwise
    return unknown


def _check(node: Node, axes: Axes | list[Axes]) -> None:
    """Make sure that the axes of a result are those of its shape."""
    value: Any = node.meta.get("val")
    results = [v for v in value if isinstance(v, torch.Tensor)] if isinstance(axes, list) else [value]
    said = axes if isinstance(axes, list) else [axes]
    for each, result in zip(said, results, strict=True):
        shape = sizes_of(result, node) if isinstance(result, torch.Tensor) else ()
        sizes = tuple(axis_size(axis) for axis in each)
        assert sizes == shape, (
            f"the rule of {op_name(node)} at {node.name} says {sizes}, the result is {shape}"
        )


def arguments(node: Node) -> dict[str, Any]:
    """The arguments of an aten call by the names of its schema, defaults filled in."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return dict(enumerate(node.args))  # type: ignore[arg-type]
    given = {a.name: a.default_value for a in target._schema.arguments if a.has_default_value()}
    given |= {a.name: value for a, value in zip(target._schema.arguments, node.args)}
    return given | dict(node.kwargs)


def fix_all(axes: Sequence[Axis], why: str) -> None:
    """Freeze every axis of a tensor."""
    for axis in axes:
        fix(axis, why)


def unknown(walk: Walk, node: Node, args: dict[str, Any]) -> Axes | list[Axes]:
    """No rule: whatever is read stays whole."""
    return keep_whole(walk, node, f"no rule for the op {op_name(node)}")


def keep_whole(walk: Walk, node: Node, why: str) -> Axes | list[Axes]:
    """Freeze all that a call reads; the result never changes."""
    for source in node.all_input_nodes:
        axes = walk.axes.get(source, ())
        for each in axes if isinstance(axes, list) else [axes]:
            fix_all(each, why)
    return whole(node)


def whole(node: Node) -> Axes | list[Axes]:
    """The axes of a result that never changes."""
    value = node.meta.get("val")
    if isinstance(value, tuple | list):
        shapes = [sizes_of(each, node) for each in value if isinstance(each, torch.Tensor)]
        return [tuple(fixed(size) for size in shape) for shape in shapes]
    return tuple(fixed(size) for size in shape_of(node))


@rule("_assert_tensor_metadata", "_assert_scalar", "_assert_async", "sym_constrain_range_for_size")
def assertion(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Says something about a tensor and makes none."""
    return ()


@rule("getitem")
def getitem(walk: Walk, node: Node, args: dict[str, Any]) -> Axes | list[Axes]:
    """One of several results."""
    source, index = node.args
    results = walk.axes[source]  # type: ignore[index]
    value = source.meta["val"]  # type: ignore[union-attr]
    if not isinstance(results, list) or not all(isinstance(each, torch.Tensor) for each in value):
        return unknown(walk, node, args)
    return results[index]  # type: ignore[index]


@rule(
    *("clone", "contiguous", "dropout", "alias", "_to_copy", "to", "detach", "type_as", "feature_dropout"),
    *("lift_fresh_copy", "hardswish", "hardsigmoid", "hardtanh", "relu6", "silu", "mish", "gelu", "prelu"),
    *("log_sigmoid", "multiply", "divide", "subtract", "true_divide", "absolute", "negative", "floor_divide"),
    *("__and__", "__or__", "greater", "less", "not_equal", "special_erf", "special_expit"),
    *("where", "masked_fill", "maximum", "minimum", "addcmul", "addcdiv", "lerp", "copy"),
)
def pointwise(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Entry by entry, with broadcasting: axes that lie over each other become one."""
    return broadcast(walk, node, walk.tensor_inputs(node), op_name(node))


def broadcast(walk: Walk, node: Node, sources: Sequence[Node], why: str, ranks: int | None = None) -> Axes:
    """The axes of a result that inputs are broadcast to; ties what lies over each other."""
    shape = shape_of(node)
    out: list[Axis] = [fixed(size) for size in shape]
    paths = [source for source in sources if walk.name_of(source) is None]
    adding = why.removesuffix("_") in ("add", "sub", "subtract") and walk.meet(node, paths)
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
                mark(out[i], "residual")
    return tuple(out)


@rule("batch_norm", "instance_norm")
def batch_norm(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Statistics of the batch, as weight standardisation takes them, are about every entry of a channel."""
    axes = walk.of(args["input"])
    if args.get("training"):
        fix_all((*axes[:1], *axes[2:]), "weights are standardised over it")
    for name in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(args.get(name), Node):
            tie(walk.of(args[name])[0], axes[1], "batch norm")
    return walk.of(args["input"])


@rule("layer_norm", "rms_norm")
def layer_norm(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """What is normalised over is a residual path; its weights move with it, and without any it stays whole."""
    axes = walk.of(args["input"])
    last = axes[len(axes) - len(args["normalized_shape"]) :]
    affine = [walk.of(args[name]) for name in ("weight", "bias") if isinstance(args.get(name), Node)]
    for stored in affine:
        for axis, over in zip(stored, last):
            tie(axis, over, "layer norm")
    for axis in last:
        mark(axis, "residual")
        if not affine:
            fix(axis, "a norm without weights keeps its size")
    return walk.of(args["input"])


@rule("group_norm")
def group_norm(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Channels move as whole groups; the maps themselves stay whole."""
    axes, groups = walk.of(args["input"]), args["num_groups"]
    size = axis_size(axes[1])
    for name in ("weight", "bias"):
        if isinstance(args.get(name), Node):
            tie(walk.of(args[name])[0], axes[1], "group norm")
    if groups == 1:
        mark(axes[1], "residual")
    else:
        tie(axes[1], ((Unit(groups), size // groups),), "groups of a norm")
    fix_all(axes[2:], "a norm runs over it")
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
        fix(axes[-1 if dim is None else dim], f"{op_name(node)} mixes it")
    out = walk.of(args["self"])
    value = node.meta["val"]
    return [out] * len(value) if isinstance(value, tuple | list) else out


OVER_WHAT_IS_LEFT = frozenset(("mean", "sum", "amax", "amin", "var", "std", "var_mean", "std_mean"))
"""Reductions that mean the same of fewer entries; `supernet.elastic.verify` takes them over the live ones."""


@rule(
    *OVER_WHAT_IS_LEFT,
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
)
def reduction(walk: Walk, node: Node, args: dict[str, Any]) -> Axes | list[Axes]:
    """Reduced axes are gone. What a width is averaged over is a residual path: a norm written by hand."""
    (source, *others) = walk.tensor_inputs(node)
    axes = walk.of(source)
    if others:
        return pointwise(walk, node, args)
    which = args.get("dim")
    which = list(range(len(axes))) if which in (None, []) else which
    dims = {dim % len(axes) for dim in (which if isinstance(which, list | tuple) else [which])}
    name = op_name(node)
    if name in OVER_WHAT_IS_LEFT:
        walk.reduced.append(Reduced(node, axes, tuple(sorted(dims))))
    for dim in dims:
        if name not in (*OVER_WHAT_IS_LEFT, "linalg_vector_norm"):
            fix(axes[dim], f"{name} runs over it")
        elif name in ("mean", "var", "std", "var_mean", "std_mean"):
            mark(axes[dim], "residual")
    keep = args.get("keepdim", False)
    out = tuple(fixed(1) if i in dims else axis for i, axis in enumerate(axes) if keep or i not in dims)
    return [out, out] if isinstance(node.meta["val"], tuple | list) else out


def spatial(rank: int) -> Rule:
    """A map is resized or pooled over its last ``rank`` axes."""

    def resized(walk: Walk, node: Node, args: dict[str, Any]) -> Axes | list[Axes]:
        """Channels pass, the last axes are slid over and stay whole."""
        axes = walk.of(walk.tensor_inputs(node)[0])
        fix_all(axes[-rank:], f"{op_name(node)} slides over it")
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
