"""A plain module as one ONNX file, checked against PyTorch.

Only modules that were cut out are exported: a slice of a shared weight would carry the whole weight
along. The file says what it holds (its properties) and nothing about where it was made.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from hardware.errors import ExportError
from hardware.node_names import name_nodes
from hardware.onnx_session import ORT_ERRORS, PROVIDER
from supernet.elastic.inputs import Inputs, output_tensors
from supernet.elastic.slicing import named_tensors
from supernet.errors import did_you_mean
from supernet.files import write_atomically
from supernet.tasks.task import FreeAxes

NONE_FREE: FreeAxes = {}
OPSET = 18
"""Old enough for most runtimes; newer ones give the same graphs and the same sizes."""

_CHATTY = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")


@dataclass(frozen=True)
class Port:
    """One input or output of an exported network.

    Args:
        name: in the file.
        dtype: of its entries, as ONNX calls it: ``float``, ``int64``.
        shape: an integer for a fixed axis, a name for one of any length.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class OnnxFile:
    """One exported network.

    Args:
        path: where it lies.
        sha256: of the file.
        size_bytes: of the file.
        properties: what can be read back from the file itself.
        inputs: what it takes.
        outputs: what it answers.
    """

    path: Path
    sha256: str
    size_bytes: int
    properties: dict[str, str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class Parity:
    """How far ONNX Runtime is from PyTorch.

    Args:
        max_abs: largest difference of any output.
        max_relative: the same, over the largest output PyTorch gave.
        batches: the batch sizes compared.
    """

    max_abs: float
    max_relative: float
    batches: tuple[int, ...]


def weight_hash(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of all parameters and buffers, in whatever order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(named_tensors(module), key=lambda item: item[0]):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()


def export_onnx(
    module: nn.Module,
    example: Inputs | Tensor,
    path: Path,
    *,
    free_axes: FreeAxes = NONE_FREE,
    properties: Mapping[str, str] | None = None,
) -> OnnxFile:
    """Write a network as ONNX with a free batch size; equal networks give equal bytes.

    Inputs are named as the network's arguments (``input`` for a lone positional one), outputs by their
    keys or positions (``output`` for a lone one).

    Args:
        module: a plain network in eval mode, e.g. from `Subnet.extract`; not changed.
        example: what it takes; its values do not matter. Tensors that hold one entry per example along
            the batch axis stay free there.
        path: where to; the file appears whole or not at all.
        free_axes: further axes of any length, by the name of the input.
        properties: strings to keep in the file; the torch version and the hash of the weights join them.

    Raises:
        ExportError: for a network in training mode, or one that PyTorch cannot trace.
        StateError: when the place cannot be written to.
    """
    training = [name or type(module).__name__ for name, child in module.named_modules() if child.training]
    if training:
        raise ExportError(
            f"{training[0]!r} is in training mode; call .eval() on the network before exporting it"
        )
    return write_onnx(translate(module, example, free_axes).model, module, path, properties or {})


def translate(
    module: nn.Module, example: Inputs | Tensor, free_axes: FreeAxes = NONE_FREE, *, optimised: bool = True
) -> torch.onnx.ONNXProgram:
    """The graph of a network, with the names and free axes that `export_onnx` promises; nodes are named by module.

    Args:
        optimised: whether constants and batch norms have been folded into the weights.

    Raises:
        ExportError: for a network that PyTorch cannot trace.
    """
    inputs = Inputs.of(example)
    # An axis of one entry would be taken for a constant.
    inputs = inputs.with_batch(max(2, inputs.batch))
    program = _translate(_without_inplace(module), inputs, free_axes, optimised)
    name_nodes(program.model)
    return program


def write_onnx(
    model: onnx_ir.Model, module: nn.Module, path: Path, properties: Mapping[str, str]
) -> OnnxFile:
    """Write the graph of a network; of where it was made nothing is left in the file.

    Raises:
        StateError: when the place cannot be written to.
    """
    _strip(model)
    known = {"torch_version": torch.__version__, "weights_sha256": weight_hash(module)} | dict(properties)
    model.metadata_props.update(sorted(known.items()))
    content = onnx_ir.to_proto(model).SerializeToString(deterministic=True)
    write_atomically(path, content)
    ports = [tuple(map(_port, values)) for values in (model.graph.inputs, model.graph.outputs)]
    return OnnxFile(path, hashlib.sha256(content).hexdigest(), len(content), known, *ports)


def _port(value: onnx_ir.Value) -> Port:
    shape = tuple(size if isinstance(size, int) else str(size) for size in value.shape or ())
    return Port(str(value.name), value.dtype.name.lower() if value.dtype else "", shape)


def _without_inplace(module: nn.Module) -> nn.Module:
    """A copy whose activations write to a new tensor: the exporter knows those ops and halves its time."""
    module = copy.deepcopy(module)
    for child in module.modules():
        if isinstance(getattr(child, "inplace", None), bool):
            child.inplace = False  # type: ignore[assignment]
    return module


def _translate(
    module: nn.Module, inputs: Inputs, free_axes: FreeAxes, optimised: bool
) -> torch.onnx.ONNXProgram:
    with torch.no_grad():
        outputs = [name for name, _ in output_tensors(inputs.call(module))]
    with quiet():
        try:
            free = _free(module, inputs, free_axes)
            program = torch.export.export(module, inputs.args, dict(inputs.kwargs), dynamic_shapes=free)
            exported = torch.onnx.export(
                program, dynamo=True, dynamic_shapes=free, input_names=inputs.names(module), output_names=outputs,
                opset_version=OPSET, external_data=False, verbose=False, optimize=optimised,
            )  # fmt: skip
        except (torch.onnx.OnnxExporterError, torch._dynamo.exc.TorchDynamoException, RuntimeError) as error:
            line = str(error).strip().splitlines()[0]
            raise ExportError(
                f"{type(module).__name__} cannot be exported: {line}; try torch.export on it"
            ) from error
    assert exported is not None
    return exported


def _free(module: nn.Module, inputs: Inputs, free_axes: FreeAxes) -> dict[str, Any]:
    """The axes of any length, in the nesting of the network's arguments.

    Raises:
        ExportError: for axes of an input that is not there.
    """
    names = inputs.names(module)
    for name in free_axes:
        if name not in names:
            raise ExportError(f"free axes were given for the input {name!r}{did_you_mean(name, names)}")
    dims: dict[str, torch.export.Dim] = {}
    axis, batch, named = inputs.batch_axis, inputs.batch, iter(names)

    def free(leaf: Any) -> Any:
        """The free axes of one tensor, each by its name."""
        if not isinstance(leaf, Tensor):
            return None
        found = {axis: "batch"} if leaf.dim() > axis and leaf.shape[axis] == batch else {}
        found |= free_axes.get(next(named), {})
        return {i: dims.setdefault(name, torch.export.Dim(name)) for i, name in found.items()}

    args, kwargs = tree_map(free, (inputs.args, dict(inputs.kwargs)))
    bound = inspect.signature(module.forward).bind(*args, **kwargs)
    return dict(bound.arguments)


@contextmanager
def quiet() -> Iterator[None]:
    """The exporter tells its progress on stdout, in warnings and in logs; none of it is ours to show."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _strip(model: onnx_ir.Model) -> None:
    """Remove what the exporter noted down: stack traces with local paths, class hierarchies, signatures."""
    model.doc_string = None
    model.metadata_props.clear()
    for graph in model.graphs():
        graph.doc_string = None
        graph.metadata_props.clear()
        nodes = list(graph.all_nodes())
        outputs = [value for node in nodes for value in node.outputs]
        for node in nodes:
            node.doc_string = None
            node.metadata_props.clear()
        for value in (*graph.inputs, *graph.initializers.values(), *outputs):
            value.doc_string = None
            value.metadata_props.clear()


def check_onnx(
    path: Path, module: nn.Module, example: Inputs | Tensor, batches: Sequence[int] = (1, 2, 5)
) -> Parity:
    """Compare a file in ONNX Runtime with the network in PyTorch, on random inputs at several batch sizes.

    Args:
        path: the file.
        module: the network it was made from, in eval mode.
        example: what it takes: floating tensors are replaced by noise, others are kept.
        batches: batch sizes to compare.

    Raises:
        ExportError: when ONNX Runtime cannot load or run the file, or it has other outputs.
    """
    noise = torch.Generator().manual_seed(0)
    largest, difference = 0.0, 0.0
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDER])
        for batch in batches:
            inputs = Inputs.of(example).with_batch(batch).map(lambda tensor: _noise(tensor, noise))
            found = session.run(None, feed(inputs, [entry.name for entry in session.get_inputs()]))
            with torch.inference_mode():
                expected = [tensor for _, tensor in output_tensors(inputs.call(module))]
            if [a.shape for a in found] != [tuple(b.shape) for b in expected]:
                raise ExportError(
                    f"{path} answers with shapes {[a.shape for a in found]}, "
                    f"PyTorch with {[tuple(b.shape) for b in expected]}"
                )
            for ours, theirs in zip(found, expected):
                largest = max(largest, theirs.abs().max().item())
                difference = max(difference, (torch.from_numpy(ours) - theirs).abs().max().item())
    except ORT_ERRORS as error:
        raise ExportError(f"ONNX Runtime {onnxruntime.__version__} cannot run {path}: {error}") from error
    return Parity(difference, difference / max(largest, 1e-30), tuple(batches))


def feed(inputs: Inputs, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """What ONNX Runtime is given: the tensors of the inputs under the names of a file, in their order."""
    return {name: tensor.numpy() for name, tensor in zip(names, inputs.tensors, strict=True)}


def _noise(tensor: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
