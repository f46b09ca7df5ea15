"""Mixtures of sizes: weights over the values of a width or a kernel size become factors on shared weights.

Two ways, both exact where one value has all the weight. *Masked*, every entry counts with the weights of the
values that hold it, where it is read: the superkernel of Single-Path NAS (arXiv:1904.02877). *Interpolated*, what
a layer answers at each width is brought to the largest one in use by averages over neighbouring channels and summed
(TAS, arXiv:1905.09717); a layer is linear, so its weights are summed instead, before any norm.

It works for sizes that one choice sets alone, of convolutions, linear layers and batch norms, each axis cut from its
start and kernels cropped without matrices. Norms over channels would see what a mask leaves, and are left alone.
A depth is mixed by the chain of modules it is about, which sums what there is after each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from supernet.elastic.layout import centre, leading
from supernet.elastic.plan import Dim, Plan
from supernet.elastic.slicing import STOPS
from supernet.space import Value

Blend = Literal["masked", "interpolated"]


@dataclass(frozen=True)
class Read:
    """Where a choice says how much of a weight is read.

    Args:
        name: of the weight.
        axes: that the choice is about.
        held: for every value, ones where an entry is held: ``(values, *sizes of the axes)``.
        is_kernel: whether its centre is kept, and not its start.
    """

    name: str
    axes: tuple[int, ...]
    held: Tensor
    is_kernel: bool

    def mask(self, weights: Tensor, of: Tensor) -> Tensor:
        """The factor of every entry, to be broadcast over a weight that may be cut already.

        Args:
            weights: of the values ``(values,)``.
            of: the weight.
        """
        size = of.shape[self.axes[0]]
        held = centre(self.held[None], size)[0] if self.is_kernel else leading(self.held, 1, size)
        shape = [size if axis in self.axes else 1 for axis, size in enumerate(of.shape)]
        mask: Tensor = torch.tensordot(weights, held.to(weights), 1).view(shape)
        return mask


class Blending:
    """The choices of a plan whose sizes can be mixed, and the mixtures.

    Args:
        plan: what an architecture uses.
        largest: the network it is about.
        taken: choices that are mixtures of something else.
    """

    def __init__(self, plan: Plan, largest: nn.Module, taken: frozenset[str]) -> None:
        self.plan, self.largest = plan, largest
        self.dims: dict[str, list[Dim]] = {}
        for dim in plan.dims.values():
            for name in dim.by:
                self.dims.setdefault(name, []).append(dim)
        self._touched: dict[str, list[str]] = {}
        for name in plan.touched:
            for size in plan.dims_of(name):
                self._touched.setdefault(size, []).append(name)
        self.values: dict[str, tuple[Value, ...]] = {
            choice.name: choice.values
            for choice in plan.space.choices
            if choice.name not in taken and self._fits(choice.name)
        }
        self.stops = self._depths(taken)
        self.values |= {name: plan.space[name].values for name in self.stops}
        self.reads = {name: list(self._reads(name)) for name in self.values}

    def _fits(self, choice: str) -> bool:
        """Whether all that a choice sets are sizes of its own, of layers that can be mixed."""
        dims = self.dims.get(choice, [])
        alone = all(dim.by == (choice,) and list(dim.table) == sorted(dim.table) for dim in dims)
        touched = [name for dim in dims for name in self._touched.get(dim.name, ())]
        return alone and bool(touched) and all(map(self._mixes, touched))

    def _depths(self, taken: frozenset[str]) -> dict[str, list[tuple[str, Tensor]]]:
        """By choice of a depth: the chains it is about, with where each value stops ``(modules + 1, values)``."""
        chains: dict[str, list[str]] = {}
        for path in self.plan.switches:
            chains.setdefault(path.rpartition(".")[0], []).append(path)
        found: dict[str, list[tuple[str, Tensor]]] = {}
        covered: dict[str, int] = {}
        for chain, paths in chains.items():
            module = self.largest.get_submodule(chain)
            names = [f"{chain}.{name}" for name in module._modules]
            dims = [self.plan.dims[self.plan.switches[path]] for path in paths]
            if STOPS not in module._buffers or names[-len(paths) :] != paths or len(dims[0].by) != 1:
                continue
            if any(dim.by != dims[0].by for dim in dims) or dims[0].by[0] in taken:
                continue
            deep = torch.stack([torch.from_numpy(dim.table) for dim in dims])
            if (deep.diff(dim=0) > 0).any() or (deep.diff(dim=1) < 0).any():
                continue
            last = len(names) - len(paths) + deep.sum(0)
            stops = torch.eye(len(names) + 1)[last].t()
            found.setdefault(dims[0].by[0], []).append((chain, stops))
            covered[dims[0].by[0]] = covered.get(dims[0].by[0], 0) + len(dims)
        return {name: of for name, of in found.items() if covered[name] == len(self.dims[name])}

    def _mixes(self, name: str) -> bool:
        module, plan = self.largest.get_submodule(name.rpartition(".")[0]), self.plan
        if not isinstance(module, _ConvNd | nn.Linear | _BatchNorm) or getattr(module, "transposed", False):
            return False
        groups = getattr(module, "groups", 1)
        simple = all(layout is None or layout.simple for layout in plan.layouts.get(name, ()))
        cropped = plan.kernels[name].transforms if name in plan.kernels else ()
        return groups in (1, module.weight.shape[0]) and simple and not cropped

    def _reads(self, choice: str) -> Iterator[Read]:
        for dim in self.dims[choice]:
            for name in self._touched.get(dim.name, ()):
                tensor = self._stored(name)
                if (kernel := self.plan.kernels.get(name)) is not None and kernel.dim == dim.name:
                    held = torch.zeros(len(dim.table), 1, *tensor.shape[2:])
                    for line, size in zip(held, dim.table.tolist()):
                        centre(line[None], size).fill_(1)
                    yield Read(name, tuple(range(2, tensor.dim())), held[:, 0], True)
                for axis, layout in enumerate(self.plan.layouts.get(name, ())):
                    if axis and layout is not None and dim.name in layout.dims:
                        sizes = [self.plan.full | {dim.name: size} for size in dim.table.tolist()]
                        held = torch.stack([layout.kept(one, self.plan.full, tensor) for one in sizes])
                        yield Read(name, (axis,), held.detach(), False)

    def _stored(self, name: str) -> Tensor:
        """A shared tensor, or what stands in its place."""
        path, _, key = name.rpartition(".")
        found: Tensor = getattr(self.largest.get_submodule(path), key)
        return found

    def sizes(self, weights: Mapping[str, Tensor], every: bool) -> dict[str, int]:
        """The sizes of a mixture: the largest of the values in use.

        Args:
            weights: by choice.
            every: whether values of weight zero are held as well.
        """
        out = {}
        for choice, own in weights.items():
            used = [i for i, weight in enumerate(own.tolist()) if weight or every]
            for dim in self.dims[choice]:
                out[dim.name] = int(dim.table[used[-1] if used else 0])
        return out

    def blended(
        self, weights: Mapping[str, Tensor], blend: Blend, cut: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The tensors of a mixture that are not simply cut.

        Args:
            weights: by choice.
            blend: how widths are mixed; kernels are masked either way.
            cut: the tensors that are cut, by name.
        """
        out: dict[str, Tensor] = {}

        def now(name: str) -> Tensor:
            """A tensor as far as it is made."""
            return out[name] if name in out else cut.get(name, self._stored(name))

        for choice, own in weights.items():
            for chain, stops in self.stops.get(choice, ()):
                out[f"{chain}.{STOPS}"] = stops.to(own) @ own
            for read in self.reads[choice]:
                if read.is_kernel or blend == "masked":
                    out[read.name] = now(read.name) * read.mask(own, now(read.name)).to(now(read.name))
            if blend == "interpolated":
                for dim in self.dims[choice]:
                    for name in self._written(dim):
                        out[name] = self._interpolated(now(name), name, dim, own)
        return out

    def _written(self, dim: Dim) -> Iterator[str]:
        """Weights and biases of the layers that answer in this size."""
        for name in self._touched.get(dim.name, ()):
            layouts = self.plan.layouts.get(name, ())
            module = self.largest.get_submodule(name.rpartition(".")[0])
            mixes = isinstance(module, _ConvNd | nn.Linear) and getattr(module, "groups", 1) == 1
            if mixes and layouts and layouts[0] is not None and dim.name in layouts[0].dims:
                yield name

    def _interpolated(self, tensor: Tensor, name: str, dim: Dim, weights: Tensor) -> Tensor:
        """The sum of what leads at each width, stretched to the whole."""
        used = [i for i, weight in enumerate(weights.tolist()) if weight]
        layout = self.plan.layouts[name][0]
        assert layout is not None
        parts = []
        for i in used:
            part = leading(tensor, 0, layout.length(self.plan.full | {dim.name: int(dim.table[i])}))
            parts.append(stretched(part, len(tensor)) * weights[i].to(tensor))
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def shells(self, choice: str) -> Tensor:
        """The squared norm of what each value of a choice reads beyond the one before it, ``(values - 1,)``."""
        found = []
        for read in self.reads[choice]:
            tensor = self._stored(read.name)
            others = [axis for axis in range(tensor.dim()) if axis not in read.axes]
            energy = tensor.square().sum(others).flatten()
            found.append(read.held.to(tensor).diff(dim=0).flatten(1) @ energy)
        return torch.stack(found).sum(0)


def stretched(tensor: Tensor, size: int) -> Tensor:
    """The entries along the first axis brought to another number of them, by means over neighbours.

    Entry ``i`` is the mean over ``floor(i * old / size)`` to ``ceil((i + 1) * old / size)``; the same size is the
    same tensor.
    """
    if len(tensor) == size:
        return tensor
    lines = tensor.flatten(1).t() if tensor.dim() > 1 else tensor[None]
    return F.adaptive_avg_pool1d(lines[None], size)[0].t().reshape(size, *tensor.shape[1:])
