"""Integers in modules that a slice would contradict, and the shapes they can be read from instead.

PyTorch's own layers are known: the groups of a convolution, the padding of a cropped kernel, the
shape of a norm. Of all other modules only the values are known; `candidates` lists the integers
that could follow a group, and the verification tries them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import gcd

from torch import nn

from supernet.elastic.layout import AxisLayout, Kernel
from supernet.elastic.plan import SizeAttribute
from supernet.elastic.trace import Group, Trace

LEVELS = 4
"""How far above the layer that owns a weight an integer about it is looked for."""


def size_attribute(
    module: str, attribute: str, index: int | None, value: int, tensor: str, axis: int, full: int
) -> SizeAttribute:
    """An integer that is proportional to the size of an axis of ``tensor``, a path from the module."""
    common = gcd(value, full)
    return SizeAttribute(module, attribute, index, tensor, axis, full, value, value // common, full // common)


def of_layers(
    model: nn.Module, layouts: Mapping[str, tuple[AxisLayout | None, ...]], kernels: Mapping[str, Kernel]
) -> Iterator[SizeAttribute]:
    """The size_attributes of PyTorch's own layers, from which of their tensors are cut."""
    for path, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            yield from _of_attention(path, module, layouts)
        name = f"{path}.weight".lstrip(".")
        if name not in layouts and name not in kernels:
            continue
        weight = module.get_parameter("weight")
        cut = [layout is not None for layout in layouts.get(name, (None,) * weight.dim())]
        if isinstance(module, nn.modules.conv._ConvNd):
            if module.groups > 1 and cut[0]:
                yield size_attribute(path, "groups", None, module.groups, "weight", 0, weight.shape[0])
            if name in kernels:
                yield from _padding(path, module)
        elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
            for axis in (axis for axis, is_cut in enumerate(cut) if is_cut):
                size = weight.shape[axis]
                yield size_attribute(path, "normalized_shape", axis, size, "weight", axis, size)
        elif isinstance(module, nn.GroupNorm) and cut[0]:
            yield size_attribute(
                path, "num_channels", None, module.num_channels, "weight", 0, weight.shape[0]
            )
            if module.num_groups > 1:
                yield size_attribute(
                    path, "num_groups", None, module.num_groups, "weight", 0, weight.shape[0]
                )


def _of_attention(
    path: str, layer: nn.MultiheadAttention, layouts: Mapping[str, tuple[AxisLayout | None, ...]]
) -> Iterator[SizeAttribute]:
    """Heads follow the rows that make the queries, widths the columns of what makes each of the three."""
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    names = ("in_proj_weight",) * 3 if layer.in_proj_weight is not None else names
    for name, (attribute, axis) in zip(
        (names[0], *names), (("num_heads", 0), ("embed_dim", 1), ("kdim", 1), ("vdim", 1))
    ):
        cut = layouts.get(f"{path}.{name}".lstrip("."))
        if cut and cut[axis] is not None:
            size = layer.get_parameter(name).shape[axis]
            yield size_attribute(path, attribute, None, getattr(layer, attribute), name, axis, size)


def _padding(path: str, conv: nn.modules.conv._ConvNd) -> Iterator[SizeAttribute]:
    """A kernel narrower by two pixels is padded by one less; padding "same", and none, need no change."""
    if isinstance(conv.padding, str):
        return
    for i, (padding, side, dilation) in enumerate(zip(conv.padding, conv.weight.shape[2:], conv.dilation)):
        if padding:
            yield SizeAttribute(path, "padding", i, "weight", 2 + i, side, padding, dilation, 2)


def candidates(model: nn.Module, trace: Trace, group: Group) -> list[SizeAttribute]:
    """Integers near the weights of a group that could have to follow it.

    They belong to modules that own a member or stand up to `LEVELS` above one that does, and equal
    the units of the group or the length of a member's axis.
    """
    found: dict[tuple[str, str, int | None], SizeAttribute] = {}
    for tensor, axis in sorted(group.members, key=lambda member: _runs(trace.layouts[member[0]][member[1]])):
        whole = _whole(model, tensor, axis)
        steps = tensor.split(".")
        for level in range(1, LEVELS + 1):
            if level >= len(steps) + 1:
                break
            path = ".".join(steps[:-level])
            module = model.get_submodule(path)
            if type(module).__module__.startswith("torch.nn."):
                continue
            for attribute, index, value in _integers(module):
                if value in (group.size, whole):
                    place = (path, attribute, index)
                    local = ".".join(steps[len(steps) - level :])
                    found.setdefault(place, size_attribute(path, attribute, index, value, local, axis, whole))
    return list(found.values())


def _runs(layout: AxisLayout) -> int:
    """Axes of fewer pieces are proportional to the group, and come first."""
    return sum(bool(run.dims) for run in layout) + len(layout)


def _whole(model: nn.Module, tensor: str, axis: int) -> int:
    owner, _, name = tensor.rpartition(".")
    return int(getattr(model.get_submodule(owner), name).shape[axis])


def _integers(module: nn.Module) -> Iterator[tuple[str, int | None, int]]:
    """The integers a module keeps, alone or in tuples and lists: attribute, index, value."""
    for attribute, value in vars(module).items():
        if attribute.startswith("_") or attribute == "training":
            continue
        if type(value) is int and value > 0:
            yield attribute, None, value
        elif isinstance(value, tuple | list):
            yield from ((attribute, i, v) for i, v in enumerate(value) if type(v) is int and v > 0)
