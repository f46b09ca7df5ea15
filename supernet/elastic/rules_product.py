"""Rules of the ops that multiply: convolutions, products of matrices, attention, recurrent layers.

They also say how often: ``walk.macs`` gets the products of axes whose sum is a call's multiply-adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch.fx import Node

from supernet.elastic.groups import Axis, Unit, axis_size, fix, fixed, mark, tie
from supernet.elastic.rules import fix_all, keep_whole, rule, unknown
from supernet.elastic.walk import Axes, Walk, op_name, shape_of


@rule("conv1d", "conv2d", "conv3d", "convolution", multiplies=True)
def convolution(walk: Walk, node: Node, args: dict[str, Any]) -> Axes | list[Axes]:
    """Output channels are made by the weight, input channels consumed; groups move as wholes."""
    if args.get("transposed"):
        return transposed(walk, node, args)
    source, kernel, bias = args["input"], args["weight"], args["bias"]
    rank = len(shape_of(kernel)) - 2
    x, weight, groups = walk.of(source), walk.of(kernel), args["groups"]
    batch, channels, sides_in = x[: -rank - 1], x[-rank - 1], x[-rank:]
    shape = shape_of(node)
    _sides(weight[2:])
    if groups == 1:
        tie(channels, weight[1], "conv")
        out = weight[0]
    else:
        out = _grouped(channels, weight, groups)
    if isinstance(bias, Node):
        tie(walk.of(bias)[0], out, "bias")
    if shape[-rank:] == (1,) * rank:
        mark(out, "pooled")
    fix_all(sides_in, "a convolution slides over it")
    spatial = tuple(fixed(size) for size in shape[-rank:])
    name = walk.name_of(kernel)
    sides: Axes = tuple(fixed(size) for size in shape_of(kernel)[2:])
    if name is not None and 1 < groups == shape[-rank - 1] and _croppable(shape_of(kernel)[2:]):
        unit = walk.kernels.setdefault(name, Unit(shape_of(kernel)[2]))
        sides = tuple(((unit,),) for _ in sides)
    walk.macs[node] = ((*batch, out, *spatial, weight[1], *sides),)
    return (*batch, out, *spatial)


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", multiplies=True)
def transposed(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """A convolution backwards: its weight is ``(in, out per group, *kernel)``, and every input entry is spread."""
    x, weight, bias, groups = walk.of(args["input"]), walk.of(args["weight"]), args["bias"], args["groups"]
    rank = len(weight) - 2
    batch, channels = x[: -rank - 1], x[-rank - 1]
    _sides(weight[2:])
    if groups == 1:
        tie(channels, weight[0], "conv")
        out = weight[1]
    else:
        out = _grouped_backwards(channels, weight, groups)
    if isinstance(bias, Node):
        tie(walk.of(bias)[0], out, "bias")
    fix_all(x[-rank:], "a convolution slides over it")
    kernel = tuple(fixed(size) for size in shape_of(args["weight"])[2:])
    walk.macs[node] = ((*batch, channels, *x[-rank:], weight[1], *kernel),)
    return (*batch, out, *(fixed(size) for size in shape_of(node)[-rank:]))


def _sides(axes: Axes) -> None:
    for axis in axes:
        fix(axis, "it is a side of a kernel")
        mark(axis, "side")


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
        fix(weight[1], "it is inside a group of a convolution")
        tie(channels, ((unit, into),), "groups of a convolution")
        parts = ((unit,),)
    tie(weight[0], tuple((*run, each) for run in parts), "groups of a convolution")
    return weight[0]


def _grouped_backwards(channels: Axis, weight: Axes, groups: int) -> Axis:
    """The same for a transposed convolution, whose weight holds the input channels first."""
    fix(weight[1], "it is inside a group of a convolution")
    tie(weight[0], channels, "groups of a convolution")
    if axis_size(weight[0]) == groups:
        parts: Axis = weight[0]
    else:
        unit = Unit(groups)
        tie(channels, ((unit, axis_size(channels) // groups),), "groups of a convolution")
        parts = ((unit,),)
    return tuple((*run, axis_size(weight[1])) for run in parts)


@rule("linear", multiplies=True)
def linear(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """The last axis is consumed, and made anew by the rows of the weight."""
    x, weight, bias = walk.of(args["input"]), walk.of(args["weight"]), args["bias"]
    tie(x[-1], weight[1], "linear")
    if isinstance(bias, Node):
        tie(walk.of(bias)[0], weight[0], "bias")
    if len(x) == 2:
        mark(weight[0], "pooled")
    walk.macs[node] = ((*x[:-1], weight[0], weight[1]),)
    return (*x[:-1], weight[0])


@rule("addmm", "baddbmm", "addmv", multiplies=True)
def added_product(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """A product that is added to something."""
    pairs = (("mat1", "mat2"), ("batch1", "batch2"), ("mat", "vec"))
    first, second = next(pair for pair in pairs if pair[0] in args)
    out = _product(walk, node, walk.of(args[first]), walk.of(args[second]), op_name(node))
    added = walk.of(args["self"])
    for axis, over in zip(reversed(added), reversed(out)):
        if axis_size(axis) == axis_size(over):
            tie(axis, over, op_name(node))
    return out


@rule("addbmm", multiplies=True)
def summed_product(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """The sum of a batch of products."""
    _constant_macs(walk, node, [(*shape_of(args["batch1"]), shape_of(args["batch2"])[-1])])
    return unknown(walk, node, args)  # type: ignore[return-value]


@rule("matmul", "bmm", "mm", "mv", "dot", "vdot", multiplies=True)
def matmul(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """A product of two matrices, of batches of them, or of a matrix and a vector."""
    second = next(args[key] for key in ("other", "mat2", "vec", "tensor") if key in args)
    return _product(walk, node, walk.of(args["self"]), walk.of(second), "matmul")


def _product(walk: Walk, node: Node, first: Axes, second: Axes, why: str) -> Axes:
    """Rows of ``first`` times columns of ``second``; an operand of one axis is a row, or a column."""
    rows, columns = first[-2:-1], second[-1:] if len(second) > 1 else ()
    tie(first[-1], second[-2] if columns else second[-1], why)
    shape = shape_of(node)
    batch: list[Axis] = []
    of_matrices = len(rows) + len(columns)
    for i in range(-len(shape), -of_matrices):
        # Counted from the last batch axis, which lies before the two of a matrix.
        at = i + of_matrices - 2
        over = [axes[at] for axes in (first, second) if len(axes) >= -at and axis_size(axes[at]) == shape[i]]
        if len(over) == 2:
            tie(over[0], over[1], why)
        batch.append(over[0] if over else fixed(shape[i]))
    if len(shape) > 2:
        mark(first[-1], "head_dim")
        for axis in batch:
            mark(axis, "heads")
    out = (*batch, *rows, *columns)
    walk.macs[node] = ((*out, first[-1]),)
    return out


@rule("scaled_dot_product_attention", multiplies=True)
def attention(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Queries, keys and values ``(..., heads, tokens, head_dim)``; the bias lies over heads and tokens.

    With ``enable_gqa`` each head of keys and values serves a group of heads of the queries.
    """
    query, key, value = (walk.of(args[name]) for name in ("query", "key", "value"))
    if args.get("enable_gqa") and axis_size(query[-3]) != axis_size(key[-3]):
        per_group = axis_size(query[-3]) // axis_size(key[-3])
        tie(key[-3], value[-3], "attention")
        tie(query[-3], tuple((*run, per_group) for run in key[-3]), "query groups")
        key, value = ((*axes[:-3], query[-3], *axes[-2:]) for axes in (key, value))
    shape = shape_of(node)
    tie(query[-1], key[-1], "attention")
    tie(key[-2], value[-2], "attention")
    mark(query[-1], "head_dim")
    fix(key[-2], "a softmax runs over it")
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


def _constant_macs(walk: Walk, node: Node, products: Iterable[Sequence[int]]) -> None:
    """The multiply-adds of a call that keeps all it reads whole."""
    walk.macs[node] = tuple(tuple(fixed(size) for size in product) for product in products)


@rule("lstm", "gru", "rnn_tanh", "rnn_relu", multiplies=True)
def recurrent(walk: Walk, node: Node, args: dict[str, Any]) -> Axes | list[Axes]:
    """Every matrix of a recurrent layer is multiplied once a step and sequence: 4 * h * (i + h) for an LSTM."""
    source = args["input"] if "input" in args else args["data"]
    steps = shape_of(source)[:-1]
    weights = [shape_of(weight) for weight in args["params"]]
    _constant_macs(walk, node, [(*steps, *weight) for weight in weights if len(weight) == 2])
    return keep_whole(walk, node, "it is inside a recurrent layer")


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell", multiplies=True)
def recurrent_cell(walk: Walk, node: Node, args: dict[str, Any]) -> Axes | list[Axes]:
    """One step of one layer."""
    rows = shape_of(args["input"])[:-1]
    _constant_macs(walk, node, [(*rows, *shape_of(args[name])) for name in ("w_ih", "w_hh")])
    return keep_whole(walk, node, "it is inside a recurrent layer")


@rule("bilinear", multiplies=True)
def bilinear(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Both inputs against a weight ``(out, in1, in2)``."""
    first, second, weight = (walk.of(args[name]) for name in ("input1", "input2", "weight"))
    tie(first[-1], weight[1], "bilinear")
    tie(second[-1], weight[2], "bilinear")
    for a, b in zip(first[:-1], second[:-1]):
        tie(a, b, "bilinear")
    if isinstance(args.get("bias"), Node):
        tie(walk.of(args["bias"])[0], weight[0], "bias")
    walk.macs[node] = ((*first[:-1], *weight),)
    return (*first[:-1], weight[0])


@rule("cdist", "_cdist_forward", multiplies=True)
def distances(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """A difference is squared and added for every entry of every pair of rows."""
    first = shape_of(args["x1"])
    _constant_macs(walk, node, [(*shape_of(node), first[-1])])
    return keep_whole(walk, node, "distances run over it")  # type: ignore[return-value]


Label = str | tuple[str, int]


@rule("einsum", multiplies=True)
def einsum(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Every letter is one axis, and so is every axis that an ellipsis stands for.

    A letter that is summed over activations is a head dimension. Operands are contracted in pairs as
    PyTorch does it: along the path that it was given, else from left to right.
    """
    terms, made = labels(args["equation"], [len(shape_of(tensor)) for tensor in args["tensors"]])
    known: dict[Label, Axis] = {}
    for term, tensor in zip(terms, args["tensors"]):
        for label, axis in zip(term, walk.of(tensor)):
            if axis_size(known.setdefault(label, axis)) == 1:
                known[label] = axis
            elif axis_size(axis) > 1:
                tie(known[label], axis, "einsum")
    stored = any(walk.name_of(tensor) is not None for tensor in args["tensors"])
    for label, axis in known.items():
        if label not in made and not stored:
            mark(axis, "head_dim")
        elif all(label in term for term in terms) and len(made) > 2 and label != made[0]:
            mark(axis, "heads")
    wide = [
        frozenset(label for label, size in zip(term, shape_of(tensor)) if size > 1)
        for term, tensor in zip(terms, args["tensors"])
    ]
    pairs = contracted(wide, frozenset(made), args.get("path"))
    walk.macs[node] = tuple(tuple(known[label] for label in known if label in pair) for pair in pairs)
    return tuple(known[label] for label in made)


def labels(equation: str, ranks: Sequence[int]) -> tuple[list[list[Label]], list[Label]]:
    """The axes of every operand of an einsum, and those of its result: letters, and places of an ellipsis."""
    read, arrow, result = equation.replace(" ", "").partition("->")
    written = read.split(",")
    hidden = [
        rank - len(term.replace("...", "")) if "..." in term else 0 for term, rank in zip(written, ranks)
    ]

    def spelled(term: str, unnamed: int) -> list[Label]:
        """The labels of one term, whose ellipsis stands for that many axes."""
        before, _, after = term.partition("...")
        return [*before, *(("...", -i) for i in range(unnamed, 0, -1)), *after]

    terms = [spelled(term, unnamed) for term, unnamed in zip(written, hidden)]
    if not arrow:
        letters = read.replace("...", "").replace(",", "")
        once = "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
        result = f"...{once}"
    return terms, spelled(result, max(hidden) if "..." in result else 0)


def contracted(
    operands: Sequence[frozenset[Label]], made: frozenset[Label], path: Sequence[int] | None = None
) -> list[frozenset[Label]]:
    """The axes over which each pair of operands is multiplied and added.

    An axis that only one of the pair has, and nobody needs afterwards, is summed before. A pair that
    shares no axis to be summed is multiplied entry by entry, which counts nothing.
    """
    left, pairs = list(operands), []
    steps = list(zip(path[::2], path[1::2])) if path else [(0, 1)] * (len(left) - 1)
    for step in steps:
        low, high = sorted(step)
        second, first = left.pop(high), left.pop(low)
        needed = made.union(*left)
        gone = (first & second) - needed
        kept = (first | second) & (needed | gone)
        if gone:
            pairs.append(kept)
        left.append(kept - gone) if path else left.insert(0, kept - gone)
    return pairs
