"""How an axis of a tensor is made of sizes that depend on the architecture, and which part of it is kept.

An axis is runs laid end to end, each run a product of factors, outermost first; a factor is a constant or
the name of a dim. ``AxisLayout.of(("h", 64))`` is h heads of 64 channels, ``AxisLayout.of((3, "h", 64))``
the same for queries, keys and values in blocks, ``AxisLayout.of(("a",), ("b",))`` the concatenation of two
residuals. A dim always keeps its first units. A `Kernel` keeps its centre.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from supernet.errors import WidthError

Factor = int | str
Sizes = Mapping[str, int]


class Run(tuple[Factor, ...]):
    """A product of factors, outermost first."""

    @property
    def dims(self) -> tuple[str, ...]:
        """The dims among its factors."""
        return tuple(factor for factor in self if isinstance(factor, str))

    @property
    def constant(self) -> int:
        """The product of its constants."""
        return prod(factor for factor in self if isinstance(factor, int))

    @property
    def leads(self) -> bool:
        """Whether less of it is simply fewer entries from the start."""
        return isinstance(self[0], str) and len(self.dims) == 1

    def shape(self, sizes: Sizes) -> list[int]:
        """Its factors at these sizes."""
        return [sizes[factor] if isinstance(factor, str) else factor for factor in self]

    def length(self, sizes: Sizes) -> int:
        """How many entries it has at these sizes."""
        entries = 1
        for size in self.shape(sizes):
            entries *= size
        return entries


class AxisLayout(tuple[Run, ...]):
    """An axis, as runs laid end to end."""

    def __new__(cls, runs: Iterable[Iterable[Factor]]) -> AxisLayout:
        """From runs, which may be plain tuples of factors."""
        return super().__new__(cls, (run if isinstance(run, Run) else Run(run) for run in runs))

    def __getnewargs__(self) -> tuple[tuple[Run, ...]]:
        return (tuple(self),)

    @staticmethod
    def of(*runs: Iterable[Factor]) -> AxisLayout:
        """The layout of these runs."""
        return AxisLayout(runs)

    @property
    def dims(self) -> tuple[str, ...]:
        """The dims in it, each once."""
        return tuple(dict.fromkeys(name for run in self for name in run.dims))

    @property
    def simple(self) -> tuple[str, int] | None:
        """The dim, and how often it is repeated, of an axis that is cut by keeping its start; else None."""
        return (self[0].dims[0], self[0].constant) if len(self) == 1 and self[0].leads else None

    def length(self, sizes: Sizes) -> int:
        """How many entries the axis holds at these sizes."""
        total = 0
        for run in self:
            total += run.length(sizes)
        return total

    def mapped(self, follow: Callable[[Factor], Iterable[Factor]]) -> AxisLayout:
        """The layout with other factors in the place of each."""
        return AxisLayout(Run(new for factor in run for new in follow(factor)) for run in self)

    def cut(self, tensor: Tensor, axis: int, sizes: Sizes, full: Sizes) -> Tensor:
        """The part of a tensor that is kept of one axis: a view unless runs have to be joined.

        Args:
            tensor: of the largest network.
            axis: the one that is laid out like this.
            sizes: of the dims, in the subnet.
            full: of the dims, in the largest network.
        """
        # One graph serves every width as long as nothing asks whether a width is the full one.
        if not torch.compiler.is_compiling() and all(sizes[dim] == full[dim] for dim in self.dims):
            return tensor
        parts = [
            view.flatten(axis, axis + view.dim() - tensor.dim())
            for view in self.views(tensor, axis, sizes, full)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, axis)

    def views(self, tensor: Tensor, axis: int, sizes: Sizes, full: Sizes) -> Iterator[Tensor]:
        """What is kept of one axis, run by run, as views; each factor of a run has an axis there."""
        start = 0
        for run in self:
            entries = run.length(full)
            part = tensor if len(self) == 1 else tensor.narrow(axis, start, entries)
            start += entries
            if run.leads:
                yield leading(part, axis, run.length(sizes))
                continue
            part = part.reshape(*part.shape[:axis], *run.shape(full), *part.shape[axis + 1 :])
            for i, factor in enumerate(run):
                if isinstance(factor, str):
                    part = leading(part, axis + i, sizes[factor])
            yield part

    def kept(self, sizes: Sizes, full: Sizes, like: Tensor) -> Tensor:
        """Ones where an entry is kept and zeros elsewhere, of the length of the whole axis.

        Args:
            sizes: of the dims, in the subnet.
            full: of the dims, in the largest network.
            like: whose dtype and device.
        """
        line = like.new_zeros(self.length(full))
        for view in self.views(line, 0, sizes, full):
            view.fill_(1)
        return line


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

    @cached_property
    def layout(self) -> AxisLayout:
        """Each of the axes."""
        return AxisLayout.of((self.dim,))

    def crop(self, weight: Tensor, keep: int, stored: Callable[[str], Tensor]) -> Tensor:
        """A convolution weight ``(out, in, *kernel)`` with the kernel of a subnet.

        Args:
            weight: with the largest kernel.
            keep: size of the kernel that is left.
            stored: from the name of a matrix to it.
        """
        chain = [(size, stored(matrix)) for size, matrix in self.transforms if size >= keep]
        if chain:
            side = chain[-1][0]
            rows = F.linear(weight.flatten(2).flatten(0, 1), _combined(chain, weight.shape[-1]))
            weight = rows.view(*weight.shape[:2], side, side)
        return centre(weight, keep)


def _combined(chain: Sequence[tuple[int, Tensor]], full: int) -> Tensor:
    """A chain of kernel matrices as one, which is small, to go over the weight itself only once.

    Args:
        chain: sizes and matrices ``(size*size, size*size)``, from large to small.
        full: size of the kernel it starts from.

    Returns:
        ``(side*side, full*full)``, where ``side`` is the last size.
    """
    (side, first), *others = chain
    product = F.pad(first.view(-1, side, side), [(full - side) // 2] * 4).flatten(1)
    for size, matrix in others:
        margin = (side - size) // 2
        inner = product.view(side, side, -1)[margin : margin + size, margin : margin + size]
        product, side = matrix @ inner.reshape(size * size, -1), size
    return product


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
    margins = [(full - size) // 2 for full in weight.shape[2:]]
    if torch.compiler.is_compiling():
        for axis, margin in enumerate(margins, 2):
            weight = _taken(weight, axis, margin, size)
        return weight
    if not any(margins):
        return weight
    return weight[(slice(None), slice(None), *(slice(margin, margin + size) for margin in margins))]


def _taken(tensor: Tensor, axis: int, start: int, keep: int) -> Tensor:
    """`Tensor.narrow` for compiled graphs: contiguous at every width, so that no graph has to ask."""
    if axis == 0:
        return tensor.narrow(0, start, keep)
    return tensor.index_select(axis, torch.arange(start, start + keep, device=tensor.device))
