"""A plain module as one ONNX file, checked against PyTorch.

Only modules that were cut out are exported: a slice of a shared weight would carry the whole weight
along. The file says what it holds (its properties) and nothing about where it was made.
"""

from __future__ import annotations

import copy
import hashlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import onnx_ir
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state
from torch import Tensor, nn

from hardware.errors import ExportError
from supernet.elastic.plan import named_tensors
from supernet.files import write_atomically

OPSET = 18
"""Old enough for most runtimes; newer ones give the same graphs and the same sizes."""

ORT_ERRORS = (
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NoSuchFile,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
)
"""What ONNX Runtime raises; its errors share no class of their own."""

_CHATTY = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")


@dataclass(frozen=True)
class OnnxFile:
    """One exported network.

    Args:
        path: where it lies.
        sha256: of the file.
        size_bytes: of the file.
        properties: what can be read back from the file itself.
    """

    path: Path
    sha256: str
    size_bytes: int
    properties: dict[str, str]


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
    module: nn.Module, example: Tensor, path: Path, *, properties: Mapping[str, str] | None = None
) -> OnnxFile:
    """Write a network as ONNX with a free batch size; equal networks give equal bytes.

    Args:
        module: a plain network in eval mode, e.g. from `Supernet.extract`; not changed.
        example: what it takes, ``(batch, ...)`` with a batch of at least 2.
        path: where to; the file appears whole or not at all.
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
    if example.shape[0] < 2:
        raise ExportError(
            f"the example holds a batch of {example.shape[0]}; give at least 2, so that it stays free"
        )
    model = _translate(_without_inplace(module), example)
    _strip(model)
    known = {"torch_version": torch.__version__, "weights_sha256": weight_hash(module)} | dict(
        properties or {}
    )
    model.metadata_props.update(sorted(known.items()))
    content = onnx_ir.to_proto(model).SerializeToString(deterministic=True)
    write_atomically(path, content)
    return OnnxFile(path, hashlib.sha256(content).hexdigest(), len(content), known)


def _without_inplace(module: nn.Module) -> nn.Module:
    """A copy whose activations write to a new tensor: the exporter knows those ops and halves its time."""
    module = copy.deepcopy(module)
    for child in module.modules():
        if isinstance(getattr(child, "inplace", None), bool):
            child.inplace = False  # type: ignore[assignment]
    return module


def _translate(module: nn.Module, example: Tensor) -> onnx_ir.Model:
    with _quiet():
        try:
            free = ({0: torch.export.Dim("batch")},)
            program = torch.export.export(module, (example,), dynamic_shapes=free)
            exported = torch.onnx.export(
                program, dynamo=True, dynamic_shapes=free,
                input_names=["input"], output_names=["output"],
                opset_version=OPSET, external_data=False, verbose=False,
            )  # fmt: skip
        except (torch.onnx.OnnxExporterError, torch._dynamo.exc.TorchDynamoException, RuntimeError) as error:
            line = str(error).strip().splitlines()[0]
            raise ExportError(
                f"{type(module).__name__} cannot be exported: {line}; try torch.export on it"
            ) from error
    assert exported is not None
    return exported.model


@contextmanager
def _quiet() -> Iterator[None]:
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


def check_onnx(path: Path, module: nn.Module, example: Tensor, batches: Sequence[int] = (1, 2, 5)) -> Parity:
    """Compare a file in ONNX Runtime with the network in PyTorch, on random inputs at several batch sizes.

    Args:
        path: the file.
        module: the network it was made from, in eval mode.
        example: sets the shape of an input, ``(any batch, ...)``.
        batches: batch sizes to compare.

    Raises:
        ExportError: when ONNX Runtime cannot load or run the file.
    """
    draw = torch.Generator().manual_seed(0)
    largest, difference = 0.0, 0.0
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for batch in batches:
            x = torch.randn(batch, *example.shape[1:], generator=draw)
            (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
            with torch.inference_mode():
                expected = module(x)
            largest = max(largest, expected.abs().max().item())
            difference = max(difference, (torch.from_numpy(found) - expected).abs().max().item())
    except ORT_ERRORS as error:
        raise ExportError(f"ONNX Runtime {onnxruntime.__version__} cannot run {path}: {error}") from error
    return Parity(difference, difference / max(largest, 1e-30), tuple(batches))
