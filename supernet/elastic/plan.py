"""The slicing plan: which part of which tensor an architecture uses.

A plan knows *dims* (sizes that depend on the architecture), how the axes of each parameter and
buffer are made of them, which modules can be left out, and which integers of which modules have
to follow. It has two readers: running the subnet inside the supernet and cutting it out. They
get the same slices, so both are the same network by construction.

An axis is described by an `AxisLayout`: runs laid end to end, each run a product of factors, outermost
first; a factor is a constant or the name of a dim. ``(("h", 64),)`` is h heads of 64 channels,
``((3, "h", 64),)`` the same for queries, keys and values in blocks, ``(("a",), ("b",))`` the
concatenation of two residuals. A dim always keeps its first units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
AxisLayout = tuple[tuple[Factor, ...], ...]
Sizes = Mapping[str, int]
PRESENT = "present"
"""Name of the buffer of shape (1,), cut to (0,) where its module is left out."""
MOST_RECIPES = 512
"""So many architectures' cuts are remembered at a time."""


@dataclass(frozen=True)
class Dim:
    """A size set by a few choices, as a table over their genes.

    Args:
        name: unique in the plan.
        full: units in the largest network; what the stored tensors hold.
        by: names of the choices that set it; none makes it a constant.
        table: sizes, shape ``(values of by[0], values of by[1], ...)``.
        kind: what it is: ``hidden``, ``squeeze``, ``heads``, ``residual``, ``kernel``, ``present``, ...
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
class SizeAttribute:
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


Views = dict[str, tuple[Tensor, int, Tensor]]
"""Name of a tensor to the whole one, where its memory lies, and a view of it."""


@dataclass(frozen=True)
class _Step:
    """How one tensor is cut: simple axes keep their start, joined ones are laid together from several runs."""

    name: str
    key: str
    simple: tuple[tuple[int, int], ...]
    joined: tuple[tuple[int, AxisLayout], ...]
    kernel: Kernel | None

    @property
    def is_view(self) -> bool:
        """Whether the slice shares its memory with the whole tensor, whatever becomes of that."""
        return not self.joined and (self.kernel is None or not self.kernel.transforms)


@dataclass(frozen=True)
class _Recipe:
    """The steps for one architecture, module by module; they hold sizes and no tensors."""

    sizes: Sizes
    absent: frozenset[str]
    steps: tuple[tuple[tuple[str, ...], tuple[_Step, ...]], ...]


@dataclass(frozen=True)
class Plan:
    """Which slice of which tensor each architecture of a space uses.

    Args:
        dims: by name.
        layouts: tensor name to one `AxisLayout` per axis; None for an axis that is always whole.
        kernels: weight name to how its spatial axes are cropped.
        switches: module path to the ``present`` dim (0 or 1) that says whether it is there.
        size_attributes: integers that follow.
        passes: for modules among the switches that answer with a tuple: which inputs, by position or name,
            make it when they are left out.
    """

    space: SearchSpace
    dims: dict[str, Dim]
    layouts: dict[str, tuple[AxisLayout | None, ...]]
    kernels: dict[str, Kernel] = field(default_factory=dict)
    switches: dict[str, str] = field(default_factory=dict)
    size_attributes: tuple[SizeAttribute, ...] = ()
    passes: dict[str, tuple[int | str | None, ...]] = field(default_factory=dict)
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
        object.__setattr__(self, "touched", tuple(sorted(self.layouts.keys() | self.kernels.keys())))

        cuts = {
            name: tuple(
                (axis, *_simple(layout), layout)
                for axis, layout in enumerate(self.layouts.get(name, ()))
                if layout is not None
            )
            for name in self.touched
        }
        object.__setattr__(self, "_cuts", cuts)
        object.__setattr__(self, "_recipes", {})

    def sizes(self, arch: Architecture) -> dict[str, int]:
        """The size of every dim for one architecture.

        Raises:
            ArchitectureError: when it is of another space.
        """
        genes = self.space.check(arch).genes
        where: dict[str, tuple[int, ...]] = self._genes  # type: ignore[attr-defined]
        return {name: int(dim.table[tuple(genes[i] for i in where[name])]) for name, dim in self.dims.items()}

    def slices(self, largest: nn.Module, arch: Architecture, views: Views | None = None) -> Slices:
        """The slices of one architecture, as views into ``largest`` wherever a view exists.

        Args:
            largest: whose tensors.
            arch: a point of the space.
            views: of an earlier call for the same architecture; those that no gradient is asked of, and
                whose memory is still the same, are taken again. Filled here.

        Raises:
            ArchitectureError: when it is of another space.
            WidthError: when a tensor is smaller than the plan says.
        """
        known: dict[tuple[int, ...], _Recipe] = self._recipes  # type: ignore[attr-defined]
        genes = self.space.check(arch).genes
        recipe = known.get(genes)
        if recipe is None:
            if len(known) >= MOST_RECIPES:
                known.clear()
            recipe = known[genes] = self._recipe(self.sizes(arch))
        return self._cut(largest, recipe, views)

    def slices_at(self, largest: nn.Module, sizes: Sizes) -> Slices:
        """`slices` for the sizes of all dims, which may be symbolic: this runs inside compiled graphs too."""
        if not torch.compiler.is_compiling():
            return self._cut(largest, self._recipe(sizes))
        absent = frozenset(path for path, dim in self.switches.items() if not sizes[dim])
        stored = dict(named_tensors(largest))
        tensors = {name: stored[name].narrow(0, 0, 0) for name in self._marks(absent)}
        copies: list[str] = []
        for name in self.touched:
            if not self.present(name, absent):
                continue
            whole = part = stored[name]
            for axis, layout in enumerate(self.layouts.get(name, ())):
                if layout is not None:
                    part = cut(part, axis, layout, sizes, self.dims)
            if name in self.kernels:
                part = self._crop(part, self.kernels[name], sizes, stored.__getitem__)
            if part is not whole:
                tensors[name] = part
                if not isinstance(whole, nn.Parameter) and self._is_joined(name):
                    copies.append(name)
        return Slices(tensors, absent | self.matrices, tuple(copies))

    def _marks(self, absent: frozenset[str]) -> list[str]:
        """The marks to cut; what lies inside an absent module is not looked at, and needs none."""
        return [
            f"{path}.{PRESENT}"
            for path in absent
            if not any(path.startswith(f"{other}.") for other in absent)
        ]

    def _recipe(self, sizes: Sizes) -> _Recipe:
        """What has to be done to the tensors for these sizes; nothing at all for the largest network."""
        absent = frozenset(path for path, dim in self.switches.items() if not sizes[dim])
        steps: dict[tuple[str, ...], list[_Step]] = {}

        def note(name: str, step: _Step) -> None:
            """File a step under the module it is done to."""
            steps.setdefault(tuple(name.split(".")[:-1]), []).append(step)

        for name in self._marks(absent):
            note(name, _Step(name, PRESENT, ((0, 0),), (), None))
        gone = tuple(f"{path}." for path in absent)
        for name in self.touched:
            if gone and name.startswith(gone):
                continue
            simple, joined = [], []
            for axis, dim, times, layout in self._cuts[name]:  # type: ignore[attr-defined]
                if dim is None:
                    joined.append((axis, layout))
                elif sizes[dim] != self.full[dim]:
                    simple.append((axis, times * sizes[dim]))
            kernel = self.kernels.get(name)
            if kernel is not None and sizes[kernel.dim] == self.full[kernel.dim]:
                kernel = None
            if simple or joined or kernel:
                key = name.rpartition(".")[2]
                note(name, _Step(name, key, tuple(simple), tuple(joined), kernel))
        return _Recipe(sizes, absent | self.matrices, tuple((path, tuple(of)) for path, of in steps.items()))

    def _cut(self, largest: nn.Module, recipe: _Recipe, views: Views | None = None) -> Slices:
        if torch.is_grad_enabled():
            views = None
        tensors: dict[str, Tensor] = {}
        copies: list[str] = []

        def stored(name: str) -> Tensor:
            """A kernel matrix, which as a rule belongs to the module that is being cut."""
            path, _, key = name.rpartition(".")
            beside = parameters.get(key) if path == place else None
            return largest.get_parameter(name) if beside is None else beside

        for path, steps in recipe.steps:
            module: Any = largest
            for child in path:
                module = module._modules[child]
            parameters, place = module._parameters, ".".join(path)
            for step in steps:
                whole = parameters.get(step.key)
                is_buffer = whole is None
                part = whole = module._buffers[step.key] if is_buffer else whole
                known = None if views is None else views.get(step.name)
                if known is not None and known[0] is whole and known[1] == whole.data_ptr():
                    tensors[step.name] = known[2]
                    continue
                for axis, keep in step.simple:
                    if keep > part.shape[axis]:
                        raise WidthError(f"width {keep} asked of an axis that holds 1 to {part.shape[axis]}")
                    part = part.narrow(axis, 0, keep)
                for axis, layout in step.joined:
                    part = cut(part, axis, layout, recipe.sizes, self.dims)
                if step.kernel is not None:
                    part = self._crop(part, step.kernel, recipe.sizes, stored)
                if part is not whole:
                    tensors[step.name] = part
                    if is_buffer and part._base is not whole:
                        copies.append(step.name)
                    elif views is not None and step.is_view:
                        views[step.name] = whole, whole.data_ptr(), part
        return Slices(tensors, recipe.absent, tuple(copies))

    def _is_joined(self, name: str) -> bool:
        """Whether the slice of a tensor is no view, as far as its layout tells."""
        layouts = [layout for layout in self.layouts[name] if layout is not None]
        return not all(len(layout) == 1 and isinstance(layout[0][0], str) for layout in layouts)

    def _crop(self, weight: Tensor, kernel: Kernel, sizes: Sizes, stored: Callable[[str], Tensor]) -> Tensor:
        keep = sizes[kernel.dim]
        for size, matrix in kernel.transforms:
            if size < keep:
                break
            crop = centre(weight, size)
            # A plain product of two matrices: with a third axis it takes thirty times as long.
            weight = (crop.reshape(-1, size * size) @ stored(matrix).T).view(crop.shape)
        return centre(weight, keep)

    def put(self, name: str, whole: Tensor, part: Tensor, sizes: Sizes) -> Tensor:
        """The whole tensor anew, with another value where a slice of it lies.

        Raises:
            WidthError: when the value is not of the shape of the slice.
        """
        places = torch.arange(whole.numel(), device=whole.device).view(whole.shape)
        for axis, layout in enumerate(self.layouts.get(name, ())):
            if layout is not None:
                places = cut(places, axis, layout, sizes, self.dims)
        if part.shape != places.shape:
            raise WidthError(
                f"{name!r} was given shape {tuple(part.shape)}; its slice is {tuple(places.shape)}"
            )
        return whole.flatten().index_copy(0, places.flatten(), part.flatten()).view(whole.shape)

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
            "layouts": {
                name: [e and [list(run) for run in e] for e in axes] for name, axes in self.layouts.items()
            },
            "kernels": {name: [k.dim, [list(t) for t in k.transforms]] for name, k in self.kernels.items()},
            "switches": dict(self.switches),
            "size_attributes": [
                list(vars(size_attribute).values()) for size_attribute in self.size_attributes
            ],
            "passes": {path: list(inputs) for path, inputs in self.passes.items()},
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
            layouts={
                name: tuple(e and tuple(tuple(run) for run in e) for e in axes)
                for name, axes in document["layouts"].items()
            },
            kernels={
                name: Kernel(dim, tuple((size, matrix) for size, matrix in transforms))
                for name, (dim, transforms) in document["kernels"].items()
            },
            switches=dict(document["switches"]),
            size_attributes=tuple(SizeAttribute(*values) for values in document["size_attributes"]),
            passes={path: tuple(inputs) for path, inputs in document.get("passes", {}).items()},
        )


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and buffer of a module, by name."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def length(layout: AxisLayout, sizes: Sizes) -> int:
    """How many entries an axis of this layout holds at these sizes."""
    total = 0
    for run in layout:
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


def cut(tensor: Tensor, axis: int, layout: AxisLayout, sizes: Sizes, dims: Mapping[str, Dim]) -> Tensor:
    """The part of ``tensor`` that an layout keeps of one axis: a view unless runs have to be joined."""
    # One graph serves every width as long as nothing asks whether a width is the full one.
    if not torch.compiler.is_compiling() and all(
        sizes[f] == dims[f].full for run in layout for f in run if isinstance(f, str)
    ):
        return tensor
    parts = [
        view.flatten(axis, axis + view.dim() - tensor.dim())
        for view in views(tensor, axis, layout, sizes, dims)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, axis)


def _simple(layout: AxisLayout) -> tuple[str | None, int]:
    """The dim, and how often it is repeated, of an layout that is cut by keeping its start; None for others."""
    (dim, *others), *more = layout
    if more or not isinstance(dim, str) or not _leads(layout[0]):
        return None, 1
    return dim, prod(factor for factor in others if isinstance(factor, int))


def _leads(run: tuple[Factor, ...]) -> bool:
    """Whether less of a run is simply fewer entries from the start."""
    return isinstance(run[0], str) and all(not isinstance(f, str) for f in run[1:])


def views(
    tensor: Tensor, axis: int, layout: AxisLayout, sizes: Sizes, dims: Mapping[str, Dim]
) -> Iterator[Tensor]:
    """What an layout keeps of one axis, run by run, as views; each factor of a run has an axis there."""
    full = {name: dim.full for name, dim in dims.items()}
    start = 0
    for run in layout:
        part = tensor if len(layout) == 1 else tensor.narrow(axis, start, length((run,), full))
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
