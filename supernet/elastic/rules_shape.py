"""Rules of the ops that only move entries: reshape, split, join, pick, repeat."""

from __future__ import annotations

from typing import Any

from torch.fx import Node

from supernet.elastic.groups import (
    Axis,
    axis_size,
    compressed,
    fix,
    fixed,
    fresh,
    is_fixed,
    regroup,
    resolve,
    split_axis,
    tie,
)
from supernet.elastic.rules import broadcast, fix_all, rule, unknown
from supernet.elastic.walk import Axes, Walk, op_name, shape_of, sizes_of


def _source(walk: Walk, node: Node) -> Axes:
    return walk.of(walk.tensor_inputs(node)[0])


@rule("view", "reshape", "_unsafe_view", "flatten", "unflatten", "reshape_as", "view_as")
def reshape(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Axes are split and joined where sizes say how."""
    return tuple(regroup(_source(walk, node), shape_of(node)))


@rule("permute")
def permute(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """The same axes in another order."""
    axes = _source(walk, node)
    return tuple(axes[dim] for dim in args["dims"])


@rule("movedim")
def movedim(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """One axis goes to another place; of several nothing is known."""
    axes = list(_source(walk, node))
    start, end = args["source"], args["destination"]
    if isinstance(start, list | tuple) and len(start) > 1:
        return unknown(walk, node, args)  # type: ignore[return-value]
    first = start[0] if isinstance(start, list | tuple) else start
    last = end[0] if isinstance(end, list | tuple) else end
    axes.insert(last % len(axes), axes.pop(first))
    return tuple(axes)


@rule("transpose", "transpose_", "swapaxes", "t", "numpy_T")
def transpose(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Two axes change places."""
    axes = list(_source(walk, node))
    a, b = args.get("dim0", args.get("axis0", 0)), args.get("dim1", args.get("axis1", -1))
    axes[a], axes[b] = axes[b], axes[a]
    return tuple(axes)


@rule("unsqueeze")
def unsqueeze(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """An axis of one entry is put in."""
    axes = list(_source(walk, node))
    axes.insert(args["dim"] % (len(axes) + 1), fixed(1))
    return tuple(axes)


@rule("squeeze")
def squeeze(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Axes of one entry go."""
    axes = _source(walk, node)
    which = args.get("dim", range(len(axes)))
    dims = {dim % len(axes) for dim in ([which] if isinstance(which, int) else which)}
    return tuple(axis for i, axis in enumerate(axes) if i not in dims or axis_size(axis) != 1)


@rule("expand", "expand_as", "broadcast_to")
def expand(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Axes of one entry become longer, all others pass."""
    axes = broadcast(walk, node, walk.tensor_inputs(node)[:1], "expand")
    if isinstance(args.get("other"), Node):
        # As often as another tensor has entries, which may be elastic.
        like = walk.of(args["other"])
        axes = tuple(b if is_fixed(a) else a for a, b in zip(axes, like))
    return axes


@rule("glu")
def gate(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """One half gates the other."""
    axes, dim = list(_source(walk, node)), args["dim"]
    half = axis_size(axes[dim]) // 2
    first, second = _pieces(axes[dim], [half, half])
    tie(first, second, "glu")
    axes[dim] = resolve(first)
    return tuple(axes)


@rule("repeat", "tile")
def repeat(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """The entries of an axis several times over, end to end."""
    axes, shape = _source(walk, node), shape_of(node)
    axes = (*(fixed(1) for _ in range(len(shape) - len(axes))), *axes)
    return tuple(
        axis if axis_size(axis) == size else compressed(axis * (size // axis_size(axis)))
        for axis, size in zip(axes, shape)
    )


@rule("repeat_interleave")
def repeat_interleave(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Every entry of an axis several times in a row."""
    axes, shape = _source(walk, node), shape_of(node)
    if len(axes) != len(shape):
        return unknown(walk, node, args)  # type: ignore[return-value]
    return tuple(
        axis if axis_size(axis) == size else tuple((*run, size // axis_size(axis)) for run in axis)
        for axis, size in zip(axes, shape)
    )


@rule("select")
def select(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """One entry of an axis, which therefore stays whole and is gone."""
    axes = _source(walk, node)
    dim = args["dim"] % len(axes)
    fix(axes[dim], "one entry of it is picked")
    return (*axes[:dim], *axes[dim + 1 :])


@rule("unbind")
def unbind(walk: Walk, node: Node, args: dict[str, Any]) -> list[Axes]:
    """Every entry of an axis by itself; it stays whole and is gone."""
    axes = _source(walk, node)
    dim = args["dim"] % len(axes)
    fix(axes[dim], "its entries are taken apart")
    return [(*axes[:dim], *axes[dim + 1 :])] * axis_size(axes[dim])


@rule("slice")
def narrow(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Consecutive entries of an axis, as one of the pieces it is cut into."""
    axes, shape = _source(walk, node), shape_of(node)
    dim = args["dim"] % len(axes)
    whole = axis_size(axes[dim])
    if shape[dim] == whole:
        return axes
    if args["step"] != 1:
        fix(axes[dim], "every other entry is picked")
        return (*axes[:dim], fixed(shape[dim]), *axes[dim + 1 :])
    start = min(max((args["start"] or 0) + (whole if (args["start"] or 0) < 0 else 0), 0), whole)
    sizes = [start, shape[dim], whole - start - shape[dim]]
    return (*axes[:dim], _pieces(axes[dim], sizes)[1], *axes[dim + 1 :])


def _pieces(axis: Axis, sizes: list[int]) -> list[Axis]:
    """An axis cut into consecutive pieces; all of them fixed when a cut runs through a unit's middle."""
    out: list[Axis] = []
    rest = resolve(axis)
    for size in sizes:
        cut = split_axis(rest, size) if size else ((), rest)
        if cut is None:
            fix(axis, "it is cut where no unit ends")
            return [fixed(size) for size in sizes]
        out.append(cut[0])
        rest = cut[1]
    return out


@rule("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk")
def split(walk: Walk, node: Node, args: dict[str, Any]) -> list[Axes]:
    """An axis in pieces; equal ones stay equal."""
    axes, shapes = _source(walk, node), [sizes_of(value, node) for value in node.meta["val"]]
    dim = args["dim"] % len(axes)
    sizes = [int(shape[dim]) for shape in shapes]
    pieces = _pieces(axes[dim], sizes)
    alike = len(set(sizes)) == 1 and not isinstance(args.get("split_sizes", args.get("split_size")), list)
    for piece in pieces[1:] if alike else ():
        tie(pieces[0], piece, "equal parts")
    if len(set(sizes)) > 1 and "chunk" in op_name(node):
        fix(axes[dim], "it is cut into unequal chunks")
    axes = _source(walk, node)
    return [(*axes[:dim], piece, *axes[dim + 1 :]) for piece in pieces]


@rule("cat", "concat", "concatenate")
def cat(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Joined axes are laid end to end; the others are the same for all."""
    parts = [part for part in args["tensors"] if len(shape_of(part)) == len(shape_of(node))]
    dim = args["dim"] % len(shape_of(node))
    first = walk.of(parts[0])
    for part in parts[1:]:
        for i, (a, b) in enumerate(zip(first, walk.of(part))):
            if i != dim:
                tie(a, b, "cat")
    joined = tuple(run for part in parts for run in walk.of(part)[dim])
    return (*first[:dim], resolve(joined), *first[dim + 1 :])


@rule("stack")
def stack(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Equal tensors along an axis that is new and fixed."""
    dim = args["dim"] % len(shape_of(node))
    first = walk.of(args["tensors"][0])
    for part in args["tensors"][1:]:
        for a, b in zip(first, walk.of(part)):
            tie(a, b, "stack")
    return (*first[:dim], fixed(len(args["tensors"])), *first[dim:])


@rule("pad", "constant_pad_nd", "reflection_pad2d", "replication_pad2d")
def pad(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """A padded axis stays whole, all others pass."""
    axes, shape, widths = _source(walk, node), shape_of(node), args.get("pad", args.get("padding"))
    padded = {len(axes) - 1 - i // 2 for i, width in enumerate(widths or ()) if width}
    for i in padded:
        fix(axes[i], "it is padded")
    return tuple(fixed(shape[i]) if i in padded else axis for i, axis in enumerate(axes))


@rule("index")
def index(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Entries are looked up along some axes, which stay whole; the others pass on."""
    axes, shape = walk.of(args["self"]), shape_of(node)
    used = [i for i, each in enumerate(args["indices"]) if each is not None]
    contiguous = used == list(range(used[0], used[-1] + 1))
    for each in args["indices"]:
        if isinstance(each, Node):
            fix_all(walk.of(each), "it says where to look things up")
    for i in used:
        fix(axes[i], "entries of it are looked up")
    kept = [axis for i, axis in enumerate(axes) if i not in used]
    looked_up = len(shape) - len(kept)
    before = used[0] if contiguous else 0
    found = [fixed(size) for size in shape[before : before + looked_up]]
    return (*kept[:before], *found, *kept[before:])


@rule("index_select", "gather", "embedding", "take_along_dim")
def lookup(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Entries are picked along one axis, which stays whole."""
    if op_name(node) == "embedding":
        weight, where = walk.of(args["weight"]), walk.of(args["indices"])
        fix(weight[0], "entries of it are looked up")
        return (*where, weight[1])
    if op_name(node) != "index_select":
        return unknown(walk, node, args)  # type: ignore[return-value]
    axes, dim = walk.of(args["self"]), args["dim"]
    fix(axes[dim], "entries of it are looked up")
    return tuple(
        fixed(size) if i == dim % len(axes) else axis
        for (i, axis), size in zip(enumerate(axes), shape_of(node))
    )


@rule("zeros", "ones", "full", "new_zeros", "new_ones", "new_full")
def filled(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Equal entries are as many as the code asks for; that it asks for the right number is verified."""
    return tuple(fresh(size) for size in shape_of(node))


@rule("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like")
def like(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Another tensor with the same axes."""
    return _source(walk, node)


@rule("pixel_shuffle", "pixel_unshuffle")
def shuffle_pixels(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Channels are traded for pixels: a whole block of them moves with one unit."""
    axes, shape = _source(walk, node), shape_of(node)
    small, area = min(shape[1], axis_size(axes[1])), None
    area = max(shape[1], axis_size(axes[1])) // small
    if op_name(node) == "pixel_unshuffle":
        return (axes[0], tuple((*run, area) for run in axes[1]), fixed(shape[2]), fixed(shape[3]))
    parts = fresh(small)
    tie(axes[1], ((*parts[0], area),), "pixel shuffle")
    return (axes[0], parts, fixed(shape[2]), fixed(shape[3]))


@rule("unfold", "im2col", "col2im")
def unfold(walk: Walk, node: Node, args: dict[str, Any]) -> Axes:
    """Windows over a map; what they are laid out to is not followed."""
    return unknown(walk, node, args)  # type: ignore[return-value]
