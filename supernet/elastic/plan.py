"""The slicing plan: which part of which tensor an architecture uses.

A plan knows *dims* (sizes that depend on the architecture), how the axes of each parameter and
buffer are made of them, which modules can be left out, and which integers of which modules have
to follow. It has two readers: running the subnet inside the supernet and cutting it out. They
get the same slices, so both are the same network by construction.

An axis is described by an `Extent`: runs laid end to end, each run a product of factors, outermost
first; a factor is a constant or the name of a dim. ``(("h", 64),)`` is h heads of 64 channels,
``((3, "h", 64),)`` the same for queries, keys and values in blocks, ``(("a",), ("b",))`` the
concatenation of two streams. A dim always keeps its first units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from supernet.errors import WidthError
from supernet.space import Architecture, SearchSpace

Factor = int | str
Extent = tuple[tuple[Factor, ...], ...]
Sizes = Mapping[str, int]
PRESENT = "present"
"""Name of the buffer of shape (1,), cut to (0,) where its module is left out."""


@dataclass(frozen=True)
class Dim:
    """A size set by a few choices, as a table over their genes.

    Args:
        name: unique in the plan.
        full: units in the largest network; what the stored tensors hold.
        by: names of the choices that set it; none makes it a constant.
        table: sizes, shape ``(values of by[0], values of by[1], ...)``.
        kind: what it is: ``hidden``, ``squeeze``, ``heads``, ``stream``, ``kernel``, ``present``, ...
    """

    name: str
    full: int
    by: tuple[str, ...]
    table: NDArray[np.int64]
    kind: str = "hidden"


@dataclass(frozen=True)
class Kernel:
    """The spatial axes of a weight: the centre crop, perhaps through learned matrices.

    With transforms, size ``k`` is reached from the next larger size: crop its centre, flatten row by
    row, multiply by the matrix ``(k*k, k*k)`` (Once-for-all, arXiv:1908.09791, section 3.2).

    Args:
        dim: the dim that holds the kernel size.
        transforms: ``(size, name of the matrix parameter)`` from large to small; empty for a plain crop.
    """

    dim: str
    transforms: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Reading:
    """An integer attribute of a module that follows the shape of one of its tensors.

    Its value is ``value + (size - full) * numerator // denominator``: a count of heads is
    ``value/full`` of the size, the padding of a kernel moves by half a pixel per pixel.

    Args:
        module: path of the module.
        attribute: its name there.
        index: position inside a tuple attribute; None for a plain integer.
        tensor: path of the tensor, from the module.
        axis: which axis of it.
        full: size of that axis in the largest network.
        value: the attribute in the largest network.
    """

    module: str
    attribute: str
    index: int | None
    tensor: str
    axis: int
    full: int
    value: int
    numerator: int
    denominator: int

    def at(self, size: int) -> int:
        """The attribute when the tensor's axis holds ``size`` entries."""
        return self.value + (size - self.full) * self.numerator // self.denominator


@dataclass(frozen=True)
class Slices:
    """What one architecture uses.

    Args:
        tensors: name of a parameter or buffer to its slice; tensors used whole are left out.
        absent: paths of the modules that are left out, and of the parameters that only the supernet needs.
        copies: buffers whose slice is no view; what is written there has to be carried back.
    """

    tensors: dict[str, Tensor]
    absent: frozenset[str]
    copies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Which slice of which tensor each architecture of a space uses.

    Args:
        dims: by name.
        extents: tensor name to one `Extent` per axis; None for an axis that is always whole.
        kernels: weight name to how its spatial axes are cropped.
        switches: module path to the ``present`` dim (0 or 1) that says whether it is there.
        readings: integers that follow.
    """

    space: SearchSpace
    dims: dict[str, Dim]
    extents: dict[str, tuple[Extent | None, ...]]
    kernels: dict[str, Kernel] = field(default_factory=dict)
    switches: dict[str, str] = field(default_factory=dict)
    readings: tuple[Reading, ...] = ()
    touched: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """Names of the tensors that are cut."""
    matrices: frozenset[str] = field(init=False, repr=False, compare=False)
    """Names of the parameters that only cropped kernels read: no subnet holds them."""
    full: dict[str, int] = field(init=False, repr=False, compare=False)
    """The size of every dim in the largest network."""

    def __post_init__(self) -> None:
        genes = {dim.name: tuple(self.space.index(name) for name in dim.by) for dim in self.dims.values()}
        object.__setattr__(self, "_genes", genes)
        matrices = {matrix for kernel in self.kernels.values() for _, matrix in kernel.transforms}
        object.__setattr__(self, "matrices", frozenset(matrices))
        object.__setattr__(self, "full", {dim.name: dim.full for dim in self.dims.values()})
        object.__setattr__(self, "touched", tuple(sorted(self.extents.keys() | self.kernels.keys())))

        cuts = {
            name: tuple(
                (axis, *_simple(extent), extent)
                for axis, extent in enumerate(self.extents.get(name, ()))
                if extent is not None
            )
            for name in self.touched
        }
        object.__setattr__(self, "_cuts", cuts)

    def sizes(self, arch: Architecture) -> dict[str, int]:
        """The size of every dim for one architecture.

        Raises:
            ArchitectureError: when it is of another space.
        """
        genes = self.space.check(arch).genes
        where: dict[str, tuple[int, ...]] = self._genes  # type: ignore[attr-defined]
        return {name: int(dim.table[tuple(genes[i] for i in where[name])]) for name, dim in self.dims.items()}

    def slices(self, largest: nn.Module, arch: Architecture) -> Slices:
        """The slices of one architecture, as views into ``largest`` wherever a view exists."""
        return self.slices_at(largest, self.sizes(arch))

    def slices_at(self, largest: nn.Module, sizes: Sizes) -> Slices:
        """`slices` for the sizes of all dims, which may be symbolic: this runs inside compiled graphs too."""
        compiling = torch.compiler.is_compiling()
        if not compiling and sizes == self.full:
            return Slices({}, self.matrices)
        absent = frozenset(path for path, dim in self.switches.items() if not sizes[dim])
        stored = dict(named_tensors(largest)) if compiling else _stored(largest, "", absent, {})
        gone = tuple(f"{path}." for path in absent)
        # What lies inside an absent module is not looked at, so it needs no mark of its own.
        marks = (name for path in absent if (name := f"{path}.{PRESENT}") in stored)
        tensors = {name: stored[name].narrow(0, 0, 0) for name in marks}
        copies: list[str] = []
        for name in self.touched:
            if gone and name.startswith(gone):
                continue
            whole = stored[name]
            part = whole
            for axis, dim, times, extent in self._cuts[name]:  # type: ignore[attr-defined]
                if dim is None or compiling:
                    part = cut(part, axis, extent, sizes, self.dims)
                elif sizes[dim] != self.full[dim]:
                    part = leading(part, axis, times * sizes[dim])
            if name in self.kernels:
                part = self._crop(part, self.kernels[name], sizes, stored)
            if part is not whole:
                tensors[name] = part
                if not isinstance(whole, nn.Parameter) and self._is_copy(name, part, whole):
                    copies.append(name)
        return Slices(tensors, absent | self.matrices, tuple(copies))

    def _is_copy(self, name: str, part: Tensor, whole: Tensor) -> bool:
        if not torch.compiler.is_compiling():
            return part._base is not whole
        extents = [extent for extent in self.extents[name] if extent is not None]
        return not all(len(extent) == 1 and isinstance(extent[0][0], str) for extent in extents)

    def _crop(self, weight: Tensor, kernel: Kernel, sizes: Sizes, stored: Mapping[str, Tensor]) -> Tensor:
        keep = sizes[kernel.dim]
        for size, matrix in kernel.transforms:
            if size < keep:
                break
            weight = centre(weight, size)
            weight = (weight.flatten(2) @ stored[matrix].T).view_as(weight)
        return centre(weight, keep)

    def present(self, name: str, absent: frozenset[str]) -> bool:
        """Whether the tensor or module of that name is part of a subnet that lacks ``absent``."""
        return not any(name == path or name.startswith(f"{path}.") for path in absent)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values; `from_json` reads it back."""
        return {
            "space": self.space.to_json(),
            "dims": [
                {"name": d.name, "full": d.full, "by": list(d.by), "table": d.table.tolist(), "kind": d.kind}
                for d in self.dims.values()
            ],
            "extents": {
                name: [e and [list(run) for run in e] for e in axes] for name, axes in self.extents.items()
            },
            "kernels": {name: [k.dim, [list(t) for t in k.transforms]] for name, k in self.kernels.items()},
            "switches": dict(self.switches),
            "readings": [list(vars(reading).values()) for reading in self.readings],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Plan:
        """The plan that `to_json` wrote."""
        return cls(
            space=SearchSpace.from_json(document["space"]),
            dims={
                d["name"]: Dim(
                    d["name"], d["full"], tuple(d["by"]), np.array(d["table"], dtype=np.int64), d["kind"]
                )
                for d in document["dims"]
            },
            extents={
                name: tuple(e and tuple(tuple(run) for run in e) for e in axes)
                for name, axes in document["extents"].items()
            },
            kernels={
                name: Kernel(dim, tuple((size, matrix) for size, matrix in transforms))
                for name, (dim, transforms) in document["kernels"].items()
            },
            switches=dict(document["switches"]),
            readings=tuple(Reading(*values) for values in document["readings"]),
        )


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and buffer of a module, by name."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def _stored(
    module: nn.Module, prefix: str, absent: frozenset[str], into: dict[str, Tensor]
) -> dict[str, Tensor]:
    """`named_tensors` of what is there, as a dictionary, tied ones under each of their names: much faster."""
    for own in (module._parameters, module._buffers):
        for name, tensor in own.items():
            if tensor is not None:
                into[prefix + name] = tensor
    if prefix[:-1] not in absent:
        for name, child in module._modules.items():
            if child is not None:
                _stored(child, f"{prefix}{name}.", absent, into)
    return into


def length(extent: Extent, sizes: Sizes) -> int:
    """How many entries an axis of this extent holds at these sizes."""
    total = 0
    for run in extent:
        entries = 1
        for factor in run:
            entries *= sizes[factor] if isinstance(factor, str) else factor
        total += entries
    return total


def leading(tensor: Tensor, axis: int, keep: int) -> Tensor:
    """The first ``keep`` entries along ``axis``, as a view: gradients land in the whole.

    Raises:
        WidthError: when the axis does not hold that many.
    """
    if torch.compiler.is_compiling():
        return _taken(tensor, axis, 0, keep)
    if keep == tensor.shape[axis]:
        return tensor
    if not 0 <= keep < tensor.shape[axis]:
        raise WidthError(f"width {keep} asked of an axis that holds 1 to {tensor.shape[axis]}")
    return tensor.narrow(axis, 0, keep)


def centre(weight: Tensor, size: int) -> Tensor:
    """The centre crop of a convolution weight ``(out, in, *kernel)``, as a view."""
    for axis in range(2, weight.dim()):
        if torch.compiler.is_compiling():
            weight = _taken(weight, axis, (weight.shape[axis] - size) // 2, size)
        elif weight.shape[axis] != size:
            weight = weight.narrow(axis, (weight.shape[axis] - size) // 2, size)
    return weight


def _taken(tensor: Tensor, axis: int, start: int, keep: int) -> Tensor:
    """`Tensor.narrow` for compiled graphs: contiguous at every width, so that no graph has to ask."""
    if axis == 0:
        return tensor.narrow(0, start, keep)
    return tensor.index_select(axis, torch.arange(start, start + keep, device=tensor.device))


def cut(tensor: Tensor, axis: int, extent: Extent, sizes: Sizes, dims: Mapping[str, Dim]) -> Tensor:
    """The part of ``tensor`` that an extent keeps of one axis: a view unless runs have to be joined."""
    # One graph serves every width as long as nothing asks whether a width is the full one.
    if not torch.compiler.is_compiling() and all(
        sizes[f] == dims[f].full for run in extent for f in run if isinstance(f, str)
    ):
        return tensor
    parts = [
        view.flatten(axis, axis + view.dim() - tensor.dim())
        for view in views(tensor, axis, extent, sizes, dims)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, axis)


def _simple(extent: Extent) -> tuple[str | None, int]:
    """The dim, and how often it is repeated, of an extent that is cut by keeping its start; None for others."""
    (dim, *others), *more = extent
    if more or not isinstance(dim, str) or not _leads(extent[0]):
        return None, 1
    return dim, prod(factor for factor in others if isinstance(factor, int))


def _leads(run: tuple[Factor, ...]) -> bool:
    """Whether less of a run is simply fewer entries from the start."""
    return isinstance(run[0], str) and all(not isinstance(f, str) for f in run[1:])


def views(
    tensor: Tensor, axis: int, extent: Extent, sizes: Sizes, dims: Mapping[str, Dim]
) -> Iterator[Tensor]:
    """What an extent keeps of one axis, run by run, as views; each factor of a run has an axis there."""
    full = {name: dim.full for name, dim in dims.items()}
    start = 0
    for run in extent:
        part = tensor if len(extent) == 1 else tensor.narrow(axis, start, length((run,), full))
        start += length((run,), full)
        if _leads(run):
            yield leading(part, axis, length((run,), sizes))
            continue
        shape = [full[f] if isinstance(f, str) else f for f in run]
        part = part.reshape(*part.shape[:axis], *shape, *part.shape[axis + 1 :])
        for i, factor in enumerate(run):
            if isinstance(factor, str):
                part = leading(part, axis + i, sizes[factor])
        yield part
