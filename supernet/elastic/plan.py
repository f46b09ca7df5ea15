"""The slicing plan: which part of which tensor an architecture uses.

A plan knows *dims* (sizes that depend on the architecture), how the axes of each parameter and
buffer are made of them, which modules can be left out, and which integers of which modules have
to follow. It has two readers: running the subnet inside the supernet and cutting it out. They
get the same slices, so both are the same network by construction.

How an axis is made of dims is an `AxisLayout`; how tensors are cut by them, `supernet.elastic.slicing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from supernet.elastic.layout import AxisLayout, Kernel, Sizes
from supernet.elastic.slicing import Recipe, Slices, Slicing, Views
from supernet.errors import WidthError
from supernet.space import Architecture, SearchSpace

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
    full: dict[str, int] = field(init=False, repr=False, compare=False)
    """The size of every dim in the largest network."""
    slicing: Slicing = field(init=False, repr=False, compare=False)
    """How its slices are made."""
    _genes: dict[str, tuple[int, ...]] = field(init=False, repr=False, compare=False)
    _recipes: dict[tuple[int, ...], Recipe] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        genes = {dim.name: tuple(self.space.index(name) for name in dim.by) for dim in self.dims.values()}
        full = {dim.name: dim.full for dim in self.dims.values()}
        slicing = Slicing(self.layouts, self.kernels, self.switches, full)
        for name, value in {"full": full, "slicing": slicing, "_genes": genes, "_recipes": {}}.items():
            object.__setattr__(self, name, value)

    @property
    def touched(self) -> tuple[str, ...]:
        """Names of the tensors that are cut."""
        return self.slicing.touched

    @cached_property
    def kinds(self) -> dict[str, frozenset[str]]:
        """Of each choice, the kinds of the dims it has a say in; none for one that sets no size."""
        return {
            choice.name: frozenset(dim.kind for dim in self.dims.values() if choice.name in dim.by)
            for choice in self.space.choices
        }

    @property
    def matrices(self) -> frozenset[str]:
        """Names of the parameters that only cropped kernels read: no subnet holds them."""
        return self.slicing.matrices

    def dims_of(self, tensor: str) -> tuple[str, ...]:
        """The dims that set the shape of a parameter or buffer."""
        layouts = [layout for layout in self.layouts.get(tensor, ()) if layout is not None]
        if tensor in self.kernels:
            layouts.append(self.kernels[tensor].layout)
        return tuple(dict.fromkeys(dim for layout in layouts for dim in layout.dims))

    def sizes(self, arch: Architecture) -> dict[str, int]:
        """The size of every dim for one architecture.

        Raises:
            ArchitectureError: when it is of another space.
        """
        genes = self.space.check(arch).genes
        return {
            name: int(dim.table[tuple(genes[i] for i in self._genes[name])])
            for name, dim in self.dims.items()
        }

    def recipe(self, arch: Architecture) -> Recipe:
        """What has to be done to which tensor for one architecture; worked out once.

        Raises:
            ArchitectureError: when it is of another space.
        """
        genes = self.space.check(arch).genes
        recipe = self._recipes.get(genes)
        if recipe is None:
            if len(self._recipes) >= MOST_RECIPES:
                self._recipes.clear()
            recipe = self._recipes[genes] = self.slicing.recipe(self.sizes(arch))
        return recipe

    def slices(
        self, largest: nn.Module, arch: Architecture, views: Views | None = None, *, leaves: bool = False
    ) -> Slices:
        """The slices of one architecture, as views into ``largest`` wherever a view exists.

        Args:
            largest: whose tensors.
            arch: a point of the space.
            views: of earlier calls; those that no gradient is asked of, and whose memory is still the same, are
                taken again. Filled here.
            leaves: whether views of parameters are leaves of their own, as `supernet.elastic.gradients` wants them:
                they are then taken again too.

        Raises:
            ArchitectureError: when it is of another space.
            WidthError: when a tensor is smaller than the plan says.
        """
        return self.slicing.follow(self.recipe(arch), largest, views, leaves=leaves)

    def slices_at(self, largest: nn.Module, sizes: Sizes) -> Slices:
        """`slices` for the sizes of all dims, which may be symbolic: this runs inside compiled graphs too."""
        if torch.compiler.is_compiling():
            return self.slicing.in_graph(largest, sizes)
        return self.slicing.follow(self.slicing.recipe(sizes), largest)

    def put(self, name: str, whole: Tensor, part: Tensor, sizes: Sizes) -> Tensor:
        """The whole tensor anew, with another value where a slice of it lies.

        Raises:
            WidthError: when the value is not of the shape of the slice.
        """
        places = torch.arange(whole.numel(), device=whole.device).view(whole.shape)
        for axis, layout in enumerate(self.layouts.get(name, ())):
            if layout is not None:
                places = layout.cut(places, axis, sizes, self.full)
        if part.shape != places.shape:
            raise WidthError(
                f"{name!r} was given shape {tuple(part.shape)}; its slice is {tuple(places.shape)}"
            )
        return whole.flatten().index_copy(0, places.flatten(), part.flatten()).view(whole.shape)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values; `from_json` reads it back."""
        return {
            "space": self.space.to_json(),
            "dims": [
                {"name": d.name, "full": d.full, "by": list(d.by), "table": d.table.tolist(), "kind": d.kind}
                for d in self.dims.values()
            ],
            "layouts": {
                name: [layout and [list(run) for run in layout] for layout in axes]
                for name, axes in self.layouts.items()
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
                name: tuple(layout and AxisLayout(layout) for layout in axes)
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
