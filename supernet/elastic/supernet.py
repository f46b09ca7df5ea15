"""The supernet: a plain largest network, and a plan that says which slices an architecture uses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from supernet.elastic import storage
from supernet.elastic.costs import Costs
from supernet.elastic.cutting import cut_out
from supernet.elastic.distributed import reaching_all
from supernet.elastic.inputs import Inputs
from supernet.elastic.layout import Sizes
from supernet.elastic.notes import NOTES
from supernet.elastic.plan import Plan
from supernet.elastic.relaxation import Relaxable, Relaxation
from supernet.elastic.report import Report, report
from supernet.elastic.skeleton import bind, carry_state, make_elastic
from supernet.elastic.slicing import Slices, Views
from supernet.elastic.subnet import Subnet
from supernet.elastic.trace import Op
from supernet.errors import ArchitectureError, ConversionError, WeightsError, did_you_mean
from supernet.memory.modes import Execution
from supernet.space import Architecture, SearchSpace, Value


class Supernet(nn.Module):
    """One set of shared weights that holds every network of a space.

    The architecture is an argument and nothing is remembered: the same object can be run with two
    architectures by two threads, checkpointed, or compared with itself.

    Args:
        largest: the largest network; taken over, its classes are swapped in place.
        plan: what each architecture uses of it.
        ops: its traced calls in dims of the plan, from which costs are computed; empty when not traced.
        example: inputs as it was traced with, or the shape of its only one; their values are not kept.
        origin: how to make the largest network again, e.g. ``{"timm": name, "kwargs": {...}}``.
        conversion: what was found and decided when a plain network was made elastic, as JSON values.
    """

    def __init__(
        self,
        largest: nn.Module,
        plan: Plan,
        *,
        ops: tuple[Op, ...] = (),
        example: Inputs | Sequence[int] | None = None,
        origin: dict[str, Any] | None = None,
        conversion: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        largest.__dict__.pop(NOTES, None)
        self.largest = make_elastic(largest, plan)
        self.plan = plan
        self.ops = ops
        self.example = None if example is None else Inputs.of(example).zeros("meta")
        self._costs: dict[tuple[str, bool], Costs] = {}
        self.origin = origin
        self.conversion = conversion
        self.training = largest.training
        self._relaxable: Relaxable | None = None

    @property
    def space(self) -> SearchSpace:
        """What can be chosen."""
        return self.plan.space

    @property
    def relaxable(self) -> Relaxable:
        """What of the space can be relaxed, and how an architecture and its relaxation become each other."""
        if self._relaxable is None:
            self._relaxable = Relaxable(self.plan, self.largest)
        return self._relaxable

    def subnet(
        self,
        arch: Architecture | Relaxation,
        statistics: Mapping[str, Tensor] | None = None,
        execution: Execution = "plain",
    ) -> Subnet:
        """One architecture, bound to the shared weights: a module that is called as the network is.

        Args:
            arch: a point of ``self.space``, or a relaxation.
            statistics: batch-norm statistics of this subnet, from `supernet.calibrate`; they
                replace the shared ones.
            execution: how it is run: ``plain``, another mode, ``compiled``, or modes of some modules by path; see
                `Subnet`.

        Raises:
            ArchitectureError: when ``arch`` is of another space.
            WeightsError: when the statistics are those of another architecture.
            SupernetError: when no execution, mode or module has that name.
        """
        return Subnet(self, arch, statistics, execution)

    def forward(self, *args: Any, statistics: Mapping[str, Tensor] | None = None, **kwargs: Any) -> Any:
        """Run one subnet once, ``supernet(x, arch)``: the short form of ``supernet.subnet(arch)(x)``.

        Args:
            *args: what the network takes, then the architecture or a relaxation, then perhaps the statistics.
            statistics: as in `subnet`.
            **kwargs: further arguments of the network; the architecture as ``arch=`` where no
                positional one is given.

        Returns:
            What the network returns, e.g. ``(batch, classes)`` logits.

        Raises:
            ArchitectureError: when none is given, or it is of another space.
            WeightsError: when the statistics are those of another architecture.
        """
        args, arch, statistics = _with_arch(args, kwargs, statistics)
        if torch.compiler.is_compiling() and not isinstance(arch, Relaxation):
            sizes, margins = self._graph_inputs(arch)
            slices = self.plan.slices_at(self.largest, self._with_kernels(sizes, margins))
            slices = self._with_statistics(slices, statistics) if statistics else slices
            out = functional_call(self.largest, slices.tensors, args, kwargs)
            if self.training and slices.copies:
                self._carry_copies(arch, slices)
        else:
            return self.run(self.slices(arch, statistics), arch, args, kwargs)
        return reaching_all(out, self.largest)

    def run(
        self,
        slices: Slices,
        arch: Architecture | Relaxation,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """What the network answers with some slices, those of an architecture."""
        network = bind(self.largest, slices, brief=True)
        out = network(*args, **kwargs)
        self.carry_back(network, arch, slices)
        return reaching_all(out, self.largest)

    @property
    def compiled(self) -> Callable[..., Any]:
        """`forward`, compiled once for all architectures."""
        if "_compiled" not in self.__dict__:
            self.__dict__["_compiled"] = torch.compile(self.forward, dynamic=True)
        found: Callable[..., Any] = self.__dict__["_compiled"]
        return found

    def extract(self, arch: Architecture, statistics: Mapping[str, Tensor] | None = None) -> nn.Module:
        """Cut one subnet out: a plain module of the original classes with weights of its own.

        Args:
            arch: a point of ``self.space``.
            statistics: batch-norm statistics of this subnet to build in, from `supernet.calibrate`.

        Raises:
            ArchitectureError: when ``arch`` is of another space.
            WeightsError: when the statistics are those of another architecture.
            ConversionError: when a module keeps something that can not be copied.
        """
        with torch.no_grad():
            return cut_out(self.largest, self.slices(arch, statistics))

    def following(self, plan: Plan) -> Supernet:
        """A supernet with a copy of the weights that follows another plan, of the same network and its switches."""
        other = deepcopy(self)
        other.plan, other._costs, other._relaxable = plan, {}, None
        return other

    def costs(
        self, inputs: Inputs | Tensor | Sequence[int] | None = None, *, resolution: int | None = None
    ) -> Costs:
        """Exact costs of any number of architectures, for inputs of certain shapes; remembered by shape.

        Args:
            inputs: what the network takes, or the shape of its only input, batch first; None for those
                of the trace, each architecture at its own resolution when that is a choice.
            resolution: side of the maps instead, the rest as in ``inputs``.

        Raises:
            ConversionError: when the inputs are not known, or the network does not run on them.
        """
        from supernet.elastic.translate import costs_at

        given = self.example if inputs is None else Inputs.of(inputs)
        if given is None:
            raise ConversionError(
                "costs depend on the size of the inputs and this supernet was not traced; "
                "give their shape, e.g. supernet.costs((1, 3, 224, 224))"
            )
        weight = next(self.parameters(), None)
        wanted = given.zeros("cpu" if weight is None else weight.device)
        if not isinstance(inputs, Inputs | Tensor) and inputs is not None and weight is not None:
            wanted = wanted.to(dtype=weight.dtype)
        if resolution is not None:
            wanted = wanted.at_resolution(resolution)
        resized = inputs is None and resolution is None and self.resizes_inputs
        key = (json.dumps(wanted.to_json()), resized)
        if key not in self._costs:
            known = self.ops and self.example is not None and wanted.to_json() == self.example.to_json()
            self._costs[key] = (
                Costs(self.plan, self.ops, self.largest, wanted.batch)
                if known and not resized
                else costs_at(self.largest, self.plan, wanted, resized=resized)
            )
        return self._costs[key]

    def input_values(self, arch: Architecture) -> dict[str, Value]:
        """The choices that the inputs of an architecture have to follow: its resolution, where that is one.

        A network that resizes inside itself is given its images as they are.
        """
        return {"resolution": self.space.decode(arch)["resolution"]} if self.resizes_inputs else {}

    @property
    def resizes_inputs(self) -> bool:
        """Whether whoever runs an architecture brings the inputs to its resolution."""
        inside = any(dim.kind == "resolution" for dim in self.plan.dims.values())
        return not inside and any(choice.name == "resolution" for choice in self.space.choices)

    def report(self) -> Report:
        """What is elastic, what is fixed and why; ``str`` of it is a table."""
        return report(self.largest, self.plan, self.conversion)

    def save(self, folder: Path | str) -> Path:
        """Write the supernet to a folder, ``model.safetensors`` and ``plan.json``; `load` reads it back.

        Raises:
            StateError: when the place cannot be written to.
        """
        saved = storage.Saved(self.largest, self.plan, self.ops, self.example, self.origin, self.conversion)
        return storage.save(saved, Path(folder))

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
        saved = storage.load(Path(folder), model)
        return Supernet(
            saved.largest,
            saved.plan,
            ops=saved.ops,
            example=saved.example,
            origin=saved.origin,
            conversion=saved.conversion,
        )

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

    def slices(
        self,
        arch: Architecture | Relaxation,
        statistics: Mapping[str, Tensor] | None = None,
        views: Views | None = None,
    ) -> Slices:
        """What one architecture uses of each tensor; statistics take the place of the shared ones.

        Args:
            arch: a point of the space.
            statistics: batch-norm statistics of this subnet.
            views: of an earlier call for the same architecture, see `Plan.slices`.
        """
        if isinstance(arch, Relaxation):
            slices = self.relaxable.slices(arch, self.largest)
        else:
            slices = self.plan.slices(self.largest, arch, views)
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

    def carry_back(self, network: nn.Module, arch: Architecture | Relaxation, slices: Slices) -> None:
        """Bring what a bound network changed of itself while it ran back to the shared one."""
        arch = arch.arch if isinstance(arch, Relaxation) else arch
        if network.training and slices.copies:
            self._carry_copies(arch, slices)
        carry_state(
            network, lambda name, whole, part: self.plan.put(name, whole, part, self.plan.sizes(arch))
        )

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    @torch.no_grad()
    def _carry_copies(self, arch: Architecture, slices: Slices) -> None:
        """Write statistics that were updated in a copy back to where they belong."""
        sizes = self.plan.sizes(arch)
        for name in slices.copies:
            whole, part, start = self.largest.get_buffer(name), slices.tensors[name], 0
            (layout,) = (layout for layout in self.plan.layouts[name] if layout is not None)
            for view in layout.views(whole, self.plan.layouts[name].index(layout), sizes, self.plan.full):
                view.copy_(part.narrow(0, start, view.numel()).view_as(view))
                start += view.numel()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled"}

    def extra_repr(self) -> str:
        """How much there is to choose."""
        return f"{len(self.space)} choices, 10^{self.space.log10_size:.1f} subnets"


def _with_arch(
    args: tuple[Any, ...], kwargs: dict[str, Any], statistics: Mapping[str, Tensor] | None
) -> tuple[tuple[Any, ...], Any, Mapping[str, Tensor] | None]:
    """The network's own arguments, the architecture and the statistics of a call of the short form."""
    if "arch" in kwargs:
        return args, kwargs.pop("arch"), statistics
    for i, value in enumerate(args):
        if isinstance(value, Architecture | Relaxation):
            rest = args[i + 1 :]
            return args[:i], value, rest[0] if rest else statistics
    raise ArchitectureError(
        "no architecture was given; write supernet(x, arch), with one from supernet.space, "
        "or supernet.subnet(arch)(x)"
    )
