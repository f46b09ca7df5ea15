"""Many subnets of one supernet as ONNX: the largest is traced once, and its graph is cut as they were cut out.

Tracing a network takes seconds, cutting its graph a fraction of one. A graph does not say which of its numbers
stand for sizes (the heads of a reshape, the margin of a pad), so a cut graph is a guess until ONNX Runtime has
agreed with PyTorch about it; where it does not, the subnet has to be exported by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import chain

import onnx_ir
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from hardware.errors import CutError, ExportError
from hardware.export import NONE_FREE, OnnxFile, check_onnx, quiet, translate, write_onnx
from hardware.node_names import module_paths, name_nodes, scopes
from hardware.pool import ExportJob
from supernet.elastic.inputs import Inputs, output_tensors
from supernet.elastic.slicing import is_present
from supernet.tasks.task import FreeAxes

PARITY = 1e-5
"""The largest relative difference from PyTorch that a cut graph may have."""


@dataclass(frozen=True)
class Template:
    """The graph of a largest network, without its weights, from which the graphs of its subnets are made.

    Args:
        largest: the network, as it was cut out of the supernet, of no memory.
        model: its graph as it was traced, not yet optimised.
    """

    largest: nn.Module
    model: onnx_ir.Model

    @classmethod
    def of(cls, largest: nn.Module, example: Inputs, free_axes: FreeAxes = NONE_FREE) -> Template:
        """Trace a network, with the free axes that all files made from it are to have.

        Raises:
            ExportError: as `export_onnx`.
        """
        model = translate(largest, example, free_axes, optimised=False).model
        for name in _tensors(largest):
            if name in model.graph.initializers:
                model.graph.initializers[name].const_value = None
        return cls(deepcopy(largest).to("meta"), model)

    def export(self, job: ExportJob, absent: frozenset[str]) -> OnnxFile:
        """Write a subnet as `export_onnx` would: the same operations, weights and ports; inner names may differ.

        Args:
            job: the subnet; its free axes are those of the template.
            absent: paths of the modules of the largest network that it lacks.

        Raises:
            CutError: when its graph is more than a cut of this one, or ONNX Runtime does not agree; there is no
                file then.
            StateError: when the place cannot be written to.
        """
        model = self._cut(job.module, job.example.with_batch(2), absent)
        draft = write_onnx(model, job.module, job.path.with_suffix(".unchecked"), job.properties)
        try:
            parity = check_onnx(draft.path, job.module, job.example, batches=(1, 2))
            if not parity.max_relative <= PARITY:
                raise CutError(f"the cut graph is {parity.max_relative:.1e} off, more than {PARITY:.0e}")
        except ExportError as error:
            draft.path.unlink(missing_ok=True)
            raise CutError(str(error)) from error
        draft.path.replace(job.path)
        return replace(draft, path=job.path)

    def _cut(self, module: nn.Module, inputs: Inputs, absent: frozenset[str]) -> onnx_ir.Model:
        model = self.model.clone()
        for path in sorted(absent):
            _leave_out(model.graph, path)
        names = self._names(module, absent)
        _fill(model.graph, names, _tensors(module), _tensors(self.largest).keys() - names.keys())
        for node in model.graph:
            if node.op_type in ("Conv", "ConvTranspose"):
                _resize(node, self.largest, module, names)
        _forget_sizes(model, module, inputs)
        program = torch.onnx.ONNXProgram(model, None)
        try:
            with quiet():
                program.optimize()
        except (RuntimeError, ValueError) as error:
            raise CutError(f"the cut graph contradicts itself: {error}") from error
        name_nodes(program.model, module_paths(names.items()))
        return program.model

    def _names(self, module: nn.Module, absent: frozenset[str]) -> dict[str, str]:
        """The name that each tensor of the largest network has in a subnet, where lists have closed their gaps."""
        kept = [name for name in _tensors(self.largest) if is_present(name, absent)]
        own = list(_tensors(module))
        if len(kept) != len(own):
            raise CutError(
                f"the subnet holds {len(own)} tensors, of the largest network {len(kept)} are left"
            )
        return dict(zip(kept, own))


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, tied ones under every name."""
    named = (module.named_parameters, module.named_buffers)
    return dict(chain.from_iterable(of(remove_duplicate=False) for of in named))


def _leave_out(graph: onnx_ir.Graph, path: str) -> None:
    """Remove a block from a graph: who took what it answered takes what it was given.

    Constants stay, since nodes elsewhere may share them; the optimiser removes those that nobody takes.
    """
    inside = {node: None for node in graph if node.inputs and path in scopes(node)}
    answers = {
        value: None
        for node in inside
        for value in node.outputs
        if value.is_graph_output() or any(use.node not in inside for use in value.uses())
    }
    if not answers:
        return
    answer, *others = answers
    given = {
        value: None
        for node in inside
        for value in node.inputs
        if value is not None and value.producer() not in inside and _alike(value, answer)
    }
    if others or answer.is_graph_output() or len(given) != 1:
        raise CutError(
            f"{path!r} takes {len(given)} tensors like the one it answers, and answers {len(answers)}"
        )
    onnx_ir.convenience.replace_all_uses_with(answer, next(iter(given)))
    graph.remove(inside, safe=True)


def _alike(value: onnx_ir.Value, answer: onnx_ir.Value) -> bool:
    """Whether a value is an activation of the shape and type of another."""
    producer = value.producer()
    is_fixed = value.is_initializer() or (producer is not None and producer.op_type == "Constant")
    return not is_fixed and value.shape == answer.shape and value.dtype == answer.dtype


def _fill(
    graph: onnx_ir.Graph, names: Mapping[str, str], tensors: Mapping[str, Tensor], gone: set[str]
) -> None:
    """Put the weights of a subnet where those of the largest network are."""
    for name, value in list(graph.initializers.items()):
        if name in names:
            tensor = tensors[names[name]].detach().contiguous()
            value.const_value = onnx_ir.tensor_adapters.TorchTensor(tensor, name=name)
            value.shape = onnx_ir.Shape(tensor.shape)
        elif name in gone:
            if value.uses():
                raise CutError(f"{name!r} is used, though it belongs to a block that is left out")
            del graph.initializers[name]


def _resize(node: onnx_ir.Node, largest: nn.Module, module: nn.Module, names: Mapping[str, str]) -> None:
    """Groups and margins of a convolution are numbers of the node, which the shape of its weight has to fit."""
    weight = None if node.inputs[1] is None else node.inputs[1].name
    if weight is None or weight not in names:
        return
    whole, part = (
        net.get_submodule(name.rpartition(".")[0])
        for net, name in ((largest, weight), (module, names[weight]))
    )
    if not (isinstance(whole, _ConvNd) and isinstance(part, _ConvNd)):
        return
    node.attributes["group"] = onnx_ir.AttrInt64("group", part.groups)
    if "kernel_shape" in node.attributes:
        node.attributes["kernel_shape"] = onnx_ir.AttrInt64s("kernel_shape", part.weight.shape[2:])
    pads = node.attributes.get("pads")
    if pads is not None and list(pads.as_ints()) == [*whole.padding] * 2:
        node.attributes["pads"] = onnx_ir.AttrInt64s("pads", [*part.padding] * 2)


def _forget_sizes(model: onnx_ir.Model, module: nn.Module, inputs: Inputs) -> None:
    """Inner sizes are those of the largest network; the optimiser infers them anew from inputs and weights."""
    free = {size for port in model.graph.inputs for size in port.shape or () if not isinstance(size, int)}
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if value.shape is not None and not (value.is_graph_output() or _is_computed(node)):
                value.shape = onnx_ir.Shape([size if size in free else None for size in value.shape])
    with torch.no_grad():
        answers = [tensor for _, tensor in output_tensors(inputs.call(module))]
    ports = chain(zip(model.graph.inputs, inputs.tensors), zip(model.graph.outputs, answers))
    for value, tensor in ports:
        if value.shape is not None:
            sizes = zip(value.shape, tensor.shape, strict=True)
            value.shape = onnx_ir.Shape([n if isinstance(size, int) else size for size, n in sizes])


def _is_computed(node: onnx_ir.Node) -> bool:
    """Whether a reshape puts its sizes together from that of the batch and numbers that are in the graph."""
    target = node.inputs[1] if node.op_type == "Reshape" else None
    producer = None if target is None else target.producer()
    return producer is not None and producer.op_type != "Constant"
