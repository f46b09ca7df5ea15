"""The supernet: a plain largest network, and a plan that says which slices an architecture uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from supernet.elastic import storage
from supernet.elastic.costs import Costs
from supernet.elastic.distributed import reaching_all
from supernet.elastic.plan import Plan, Sizes, Slices, views
from supernet.elastic.skeleton import bind, cut_out, make_elastic
from supernet.elastic.trace import Op
from supernet.errors import ConversionError, WeightsError, did_you_mean
from supernet.space import Architecture, SearchSpace

if TYPE_CHECKING:
    from supernet.elastic.report import Report


class Supernet(nn.Module):
    """One set of shared weights that holds every network of a space.

    The architecture is an argument and nothing is remembered: the same object can be run with two
    architectures by two threads, checkpointed, or compared with itself.

    Args:
        largest: the largest network; taken over, its classes are swapped in place.
        plan: what each architecture uses of it.
        ops: its traced calls in dims of the plan, from which costs are computed; empty when not traced.
        example: shape of the inputs it was traced with, batch first.
        origin: how to make the largest network again, e.g. ``{"timm": name, "kwargs": {...}}``.
        conversion: what was found and decided when a plain network was made elastic, as JSON values.
    """

    def __init__(
        self,
        largest: nn.Module,
        plan: Plan,
        *,
        ops: tuple[Op, ...] = (),
        example: tuple[int, ...] | None = None,
        origin: dict[str, Any] | None = None,
        conversion: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.largest = make_elastic(largest, plan)
        self.plan = plan
        self.ops = ops
        self.example = example or (tuple(conversion["example"]) if conversion else None)
        self._costs: dict[tuple[tuple[int, ...], bool], Costs] = {}
        self.origin = origin
        self.conversion = conversion
        self.training = largest.training

    @property
    def space(self) -> SearchSpace:
        """What can be chosen."""
        return self.plan.space

    def forward(
        self, x: Tensor, arch: Architecture, statistics: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Run one subnet.

        Args:
            x: a batch as the largest network takes it, e.g. images ``(batch, channels, height, width)``.
            arch: a point of ``self.space``.
            statistics: batch-norm statistics of this subnet, from `supernet.calibrate`; they
                replace the shared ones for this call.

        Returns:
            What the network returns, e.g. ``(batch, classes)`` logits.

        Raises:
            ArchitectureError: when ``arch`` is of another space.
            WeightsError: when the statistics are those of another architecture.
        """
        out: Tensor
        if torch.compiler.is_compiling():
            sizes, margins = self._graph_inputs(arch)
            slices = self._slices(self._with_kernels(sizes, margins), statistics)
            out = functional_call(self.largest, slices.tensors, (x,))
        else:
            slices = self._slices(self.plan.sizes(arch), statistics)
            out = reaching_all(bind(self.largest, slices)(x), self.largest)
        if self.training and slices.copies:
            self._carry_back(arch, slices)
        return out

    def extract(self, arch: Architecture, statistics: Mapping[str, Tensor] | None = None) -> nn.Module:
        """Cut one subnet out: a plain module of the original classes with weights of its own.

        Args:
            arch: a point of ``self.space``.
            statistics: batch-norm statistics of this subnet to build in, from `supernet.calibrate`.

        Raises:
            ArchitectureError: when ``arch`` is of another space.
            WeightsError: when the statistics are those of another architecture.
        """
        with torch.no_grad():
            return cut_out(self.largest, self._slices(self.plan.sizes(arch), statistics))

    def costs(self, shape: Sequence[int] | None = None, *, resolution: int | None = None) -> Costs:
        """Exact costs of any number of architectures, for inputs of one shape; remembered by shape.

        Args:
            shape: of the inputs, batch first; None for that of the trace, each architecture at its own
                resolution when that is a choice.
            resolution: side of the images instead, the rest as in ``shape``.

        Raises:
            ConversionError: when the shape is not known, or the network does not run on it.
        """
        from supernet.elastic.translate import costs_at

        given = self.example if shape is None else tuple(shape)
        if given is None:
            raise ConversionError(
                "costs depend on the size of the inputs and this supernet was not traced; "
                "give their shape, e.g. supernet.costs((1, 3, 224, 224))"
            )
        wanted = given if resolution is None else (*given[:2], resolution, resolution)
        resized = shape is None and resolution is None and self._resized()
        if (wanted, resized) not in self._costs:
            known = self.ops and wanted == self.example and not resized
            self._costs[wanted, resized] = (
                Costs(self.plan, self.ops, self.largest, wanted[0])
                if known
                else costs_at(self.largest, self.plan, wanted, resized=resized)
            )
        return self._costs[wanted, resized]

    def _resized(self) -> bool:
        """Whether whoever runs an architecture brings the images to its resolution."""
        inside = any(dim.kind == "resolution" for dim in self.plan.dims.values())
        return not inside and any(choice.name == "resolution" for choice in self.space.choices)

    def report(self) -> Report:
        """What is elastic, what is frozen and why; ``str`` of it is a table."""
        from supernet.elastic.report import report

        return report(self)

    def save(self, folder: Path | str) -> Path:
        """Write the supernet to a folder, ``model.safetensors`` and ``plan.json``; `load` reads it back.

        Raises:
            StateError: when the place cannot be written to.
        """
        return storage.save(self, Path(folder))

    @staticmethod
    def load(folder: Path | str, model: nn.Module | None = None) -> Supernet:
        """The supernet that `save` wrote, in evaluation mode; nothing is traced again.

        Args:
            folder: where it lies.
            model: the plain largest network, for a supernet whose origin does not say how to make it.

        Raises:
            StateError: when there is no supernet in the folder, or it is damaged.
            WeightsError: when the network is not the one that was saved.
        """
        return storage.load(Path(folder), model)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _graph_inputs(self, arch: Architecture) -> tuple[dict[str, int], dict[str, int]]:
        """The sizes of the dims as inputs of a compiled graph, which then serves every architecture.

        Kernels as well, as what is cropped on each side plus two: as a margin, because the padding
        then cancels in the sizes of the maps instead of growing from layer to layer; plus two,
        because 0 and 1 would be compiled in as constants.
        """
        sizes, dims = self.plan.sizes(arch), self.plan.dims
        kernels = sorted({kernel.dim for kernel in self.plan.kernels.values()})
        return sizes, {name: (dims[name].full - sizes[name]) // 2 + 2 for name in kernels}

    def _with_kernels(self, sizes: Sizes, margins: Mapping[str, int]) -> Sizes:
        return {**sizes, **{name: self.plan.dims[name].full - 2 * (m - 2) for name, m in margins.items()}}

    def _slices(self, sizes: Sizes, statistics: Mapping[str, Tensor] | None) -> Slices:
        slices = self.plan.slices_at(self.largest, sizes)
        return self._with_statistics(slices, statistics) if statistics else slices

    def _with_statistics(self, slices: Slices, statistics: Mapping[str, Tensor]) -> Slices:
        stored = dict(self.largest.named_buffers())
        for name, value in statistics.items():
            if name not in stored:
                raise WeightsError(f"statistics were given for {name!r}{did_you_mean(name, stored)}")
            expected = slices.tensors.get(name, stored[name]).shape
            if value.shape != expected:
                raise WeightsError(
                    f"statistics {name!r} have shape {tuple(value.shape)}, this architecture needs "
                    f"{tuple(expected)}; were they calibrated for another one?"
                )
        copies = tuple(name for name in slices.copies if name not in statistics)
        return Slices(slices.tensors | dict(statistics), slices.absent, copies)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    @torch.no_grad()
    def _carry_back(self, arch: Architecture, slices: Slices) -> None:
        """Write statistics that were updated in a copy back to where they belong."""
        sizes, dims = self.plan.sizes(arch), self.plan.dims
        for name in slices.copies:
            whole, part, start = self.largest.get_buffer(name), slices.tensors[name], 0
            (extent,) = (extent for extent in self.plan.extents[name] if extent is not None)
            for view in views(whole, self.plan.extents[name].index(extent), extent, sizes, dims):
                view.copy_(part.narrow(0, start, view.numel()).view_as(view))
                start += view.numel()

    def extra_repr(self) -> str:
        return f"{len(self.space)} choices, 10^{self.space.log10_size:.1f} subnets"
