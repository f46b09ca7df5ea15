"""From sizes to slices: views of the shared tensors, and copies where no view exists.

What has to be done to which tensor depends on the sizes only. It is worked out once, as a `Recipe`, and
followed at every call, because whoever trains may have put other tensors there since.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from supernet.elastic.layout import AxisLayout, Kernel, Sizes, leading

PRESENT = "present"
"""Name of the buffer of shape (1,), cut to (0,) where its module is left out."""
MIXTURE = "mixture"
"""Name of the buffer that is None, and in a copy bound for a relaxation the weights of a module's children."""

STOPS = "stops"
"""Name of a buffer like it: the weights of what a chain of modules holds before its first and after each of them."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """How one tensor is cut: simple axes keep their start, joined ones are laid together from several runs."""

    name: str
    key: str
    simple: tuple[tuple[int, int], ...] = ()
    joined: tuple[tuple[int, AxisLayout], ...] = ()
    kernel: Kernel | None = None

    @property
    def is_view(self) -> bool:
        """Whether the slice shares its memory with the whole tensor, whatever becomes of that."""
        return not self.joined and (self.kernel is None or not self.kernel.transforms)


Views = dict[Step, tuple[Tensor, int, Tensor]]
"""How a tensor is cut, to the whole one, where its memory lies, and the view that this gave."""


@dataclass(frozen=True)
class Recipe:
    """The steps for one architecture, module by module; they hold sizes and no tensors."""

    sizes: Sizes
    absent: frozenset[str]
    steps: tuple[tuple[tuple[str, ...], tuple[Step, ...]], ...]


class Slicing:
    """Cuts the tensors of a network as the layouts of a plan say.

    Args:
        layouts: as in `supernet.elastic.plan.Plan`.
        kernels: likewise.
        switches: likewise.
        full: the size of every dim in the largest network.
    """

    def __init__(
        self,
        layouts: Mapping[str, tuple[AxisLayout | None, ...]],
        kernels: Mapping[str, Kernel],
        switches: Mapping[str, str],
        full: Sizes,
    ) -> None:
        self.layouts, self.kernels, self.switches, self.full = layouts, kernels, switches, full
        self.touched = tuple(sorted(layouts.keys() | kernels.keys()))
        self.matrices = frozenset(matrix for kernel in kernels.values() for _, matrix in kernel.transforms)
        self._axes = {
            name: [
                (axis, layout, layout.simple)
                for axis, layout in enumerate(layouts.get(name, ()))
                if layout is not None
            ]
            for name in self.touched
        }
        self._dims = {
            name: tuple({dim: None for _, layout, _ in axes for dim in layout.dims})
            + ((kernels[name].dim,) if name in kernels else ())
            for name, axes in self._axes.items()
        }
        self._steps: dict[tuple[object, ...], Step | None] = {}
        self._marked: dict[str, Step] = {}
        # Tensors whose slice is no view, as far as their layouts tell.
        self._joined = {
            name for name, axes in self._axes.items() if any(simple is None for _, _, simple in axes)
        }

    def recipe(self, sizes: Sizes) -> Recipe:
        """What has to be done to the tensors for these sizes; nothing at all for the largest network."""
        absent = self.absent(sizes)
        steps: dict[tuple[str, ...], list[Step]] = {}

        def note(step: Step) -> None:
            """File a step under the module it is done to."""
            steps.setdefault(tuple(step.name.split(".")[:-1]), []).append(step)

        for name in _marks(absent):
            note(self._marked.setdefault(name, Step(name, PRESENT, simple=((0, 0),))))
        gone = tuple(f"{path}." for path in absent)
        for name in self.touched:
            if gone and name.startswith(gone):
                continue
            key = (name, *(sizes[dim] for dim in self._dims[name]))
            if key not in self._steps:
                self._steps[key] = self._step(name, sizes)
            if step := self._steps[key]:
                note(step)
        return Recipe(sizes, absent | self.matrices, tuple((path, tuple(of)) for path, of in steps.items()))

    def _step(self, name: str, sizes: Sizes) -> Step | None:
        """What has to be done to one tensor; None where it is used whole."""
        simple, joined = [], []
        for axis, layout, known in self._axes[name]:
            if known is None:
                joined.append((axis, layout))
                continue
            dim, times = known
            if sizes[dim] != self.full[dim]:
                simple.append((axis, times * sizes[dim]))
        kernel = self.kernels.get(name)
        if kernel is not None and sizes[kernel.dim] == self.full[kernel.dim]:
            kernel = None
        if not (simple or joined or kernel):
            return None
        return Step(name, name.rpartition(".")[2], tuple(simple), tuple(joined), kernel)

    def follow(
        self, recipe: Recipe, largest: nn.Module, views: Views | None = None, *, leaves: bool = False
    ) -> Slices:
        """The slices that a recipe makes of the tensors of a network.

        Args:
            recipe: of one architecture.
            largest: the network.
            views: see `supernet.elastic.plan.Plan.slices`.
            leaves: likewise.

        Raises:
            WidthError: when a tensor is smaller than the plan says.
        """
        if torch.is_grad_enabled() and not leaves:
            views = None
        tensors: dict[str, Tensor] = {}
        copies: list[str] = []
        for path, steps in recipe.steps:
            module: Any = largest
            for child in path:
                module = module._modules[child]
            parameters, buffers = module._parameters, module._buffers
            for step in steps:
                whole = parameters.get(step.key)
                if is_buffer := whole is None:
                    whole = buffers[step.key]
                is_leaf = leaves and whole.requires_grad and step.is_view
                known = None if views is None else views.get(step)
                if (
                    known is not None
                    and known[0] is whole
                    and known[1] == whole.data_ptr()
                    and (not leaves or known[2].requires_grad == is_leaf)
                ):
                    tensors[step.name] = known[2]
                    continue
                part = self.cut(whole.detach() if is_leaf else whole, step, recipe.sizes, largest, parameters)
                if part is whole:
                    continue
                tensors[step.name] = part.requires_grad_() if is_leaf else part
                if is_buffer and part._base is not whole:
                    copies.append(step.name)
                elif views is not None and step.is_view:
                    views[step] = whole, whole.data_ptr(), part
        return Slices(tensors, recipe.absent, tuple(copies))

    def cut(
        self, whole: Tensor, step: Step, sizes: Sizes, largest: nn.Module, beside: Mapping[str, Tensor]
    ) -> Tensor:
        """The slice of one tensor; a kernel matrix as a rule belongs to the module that is being cut."""
        part = whole
        for axis, keep in step.simple:
            part = leading(part, axis, keep)
        for axis, layout in step.joined:
            part = layout.cut(part, axis, sizes, self.full)
        if (kernel := step.kernel) is None:
            return part
        place = step.name.removesuffix(step.key)

        def stored(name: str) -> Tensor:
            """A kernel matrix."""
            own = beside.get(name.removeprefix(place)) if name.startswith(place) else None
            return largest.get_parameter(name) if own is None else own

        return kernel.crop(part, sizes[kernel.dim], stored)

    def in_graph(self, largest: nn.Module, sizes: Sizes) -> Slices:
        """The slices for sizes that may be symbolic, cut so that one compiled graph serves them all."""
        absent = self.absent(sizes)
        stored = dict(named_tensors(largest))
        tensors = {name: stored[name].narrow(0, 0, 0) for name in _marks(absent)}
        copies: list[str] = []
        for name in self.touched:
            if not is_present(name, absent):
                continue
            whole = part = stored[name]
            for axis, layout in enumerate(self.layouts.get(name, ())):
                if layout is not None:
                    part = layout.cut(part, axis, sizes, self.full)
            if name in self.kernels:
                part = self.kernels[name].crop(part, sizes[self.kernels[name].dim], stored.__getitem__)
            if part is not whole:
                tensors[name] = part
                if not isinstance(whole, nn.Parameter) and name in self._joined:
                    copies.append(name)
        return Slices(tensors, absent | self.matrices, tuple(copies))

    def absent(self, sizes: Sizes) -> frozenset[str]:
        """The modules that are left out at these sizes."""
        return frozenset(path for path, dim in self.switches.items() if not sizes[dim])


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and buffer of a module, by name."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def is_present(name: str, absent: frozenset[str]) -> bool:
    """Whether the tensor or module of that name is part of a subnet that lacks ``absent``."""
    steps = name.split(".")
    return not any(".".join(steps[:i]) in absent for i in range(1, len(steps) + 1))


def is_there(module: nn.Module) -> bool:
    """Whether a module of a bound copy is part of the subnet; outside a supernet every one is."""
    present = module._buffers.get(PRESENT)
    return present is None or len(present) > 0


def _marks(absent: frozenset[str]) -> list[str]:
    """The marks to cut; what lies inside an absent module is not looked at, and needs none."""
    return [f"{path}.{PRESENT}" for path in absent if is_present(path.rpartition(".")[0], absent)]
