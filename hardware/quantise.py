"""An exported network in eight bits: static, per channel, as pairs of quantise and dequantise nodes.

Which type the activations have decides whether it is faster than float at all; `hardware.fastest_types` finds out.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import Tensor, nn

from hardware.errors import ExportError
from hardware.export import feed
from hardware.onnx_session import ORT_ERRORS, OnnxSession
from hardware.options import EIGHT_BITS
from supernet.elastic.inputs import Inputs
from supernet.errors import ConfigError, did_you_mean
from supernet.files import write_atomically

TYPES = dict(zip(EIGHT_BITS, (QuantType.QUInt8, QuantType.QInt8)))
"""Types of activations; weights are signed always."""
HEAVY = ("Conv", "Gemm", "MatMul")
"""Operators with weights."""
PLACES = ("first", "last")


@dataclass(frozen=True)
class QuantiseOptions:
    """How a network is put into eight bits.

    Args:
        types: of activations and weights: ``u8s8`` or ``s8s8``.
        keep: what stays in float: ``first`` and ``last`` of the operators with weights, names of operators such as
            ``HardSwish``, or names of nodes.

    Raises:
        ConfigError: for types that there are not.
    """

    types: str = "u8s8"
    keep: tuple[str, ...] = PLACES

    def __post_init__(self) -> None:
        if self.types not in TYPES:
            raise ConfigError(f"no types are called {self.types!r}{did_you_mean(self.types, TYPES)}")


def quantise(
    file: Path, examples: Iterable[Inputs], path: Path, options: QuantiseOptions | None = None
) -> Path:
    """Write an exported network in eight bits.

    Args:
        file: the network, as `hardware.export.export_onnx` writes it.
        examples: what the ranges of the activations are taken from: batches of the training split.
        path: where to; the file appears whole or not at all.
        options: which types, and what stays in float.

    Raises:
        ConfigError: for a part to keep that the network does not have, or no example.
        ExportError: when ONNX Runtime cannot quantise the network.
        StateError: when the place cannot be written to.
    """
    options = options or QuantiseOptions()
    model = onnx.load(file)
    kept = kept_nodes(model, options.keep)
    reader = _Examples(examples, [port.name for port in model.graph.input])
    with tempfile.TemporaryDirectory() as folder, _quiet():
        draft = Path(folder) / "int8.onnx"
        try:
            quantize_static(
                file,
                draft,
                reader,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=TYPES[options.types],
                weight_type=QuantType.QInt8,
                nodes_to_exclude=kept,
            )
        except (*ORT_ERRORS, ValueError, RuntimeError) as error:
            raise ExportError(f"{file} cannot be quantised: {error}") from error
        return write_atomically(path, draft.read_bytes())


def kept_nodes(model: onnx.ModelProto, keep: Iterable[str]) -> list[str]:
    """The names of the nodes that stay in float.

    Raises:
        ConfigError: for an operator that the network does not have.
    """
    heavy = [node.name for node in model.graph.node if node.op_type in HEAVY]
    there, nodes = {node.op_type for node in model.graph.node}, {node.name for node in model.graph.node}
    found: list[str] = []
    for what in keep:
        if what in PLACES:
            found += heavy[:1] if what == "first" else heavy[-1:]
        elif what in there:
            found += [node.name for node in model.graph.node if node.op_type == what]
        elif what in nodes:
            found.append(what)
        else:
            raise ConfigError(
                f"the network has no {what!r} to keep in float{did_you_mean(what, [*PLACES, *there])}"
            )
    return list(dict.fromkeys(found))


class FileNetwork(nn.Module):
    """An exported network of one output as a module, to be judged as any other is.

    Args:
        file: in float or in eight bits.

    Raises:
        ExportError: when ONNX Runtime cannot read it.
    """

    def __init__(self, file: Path, threads: int = 1) -> None:
        super().__init__()
        self._session = OnnxSession(str(file), "all", threads)

    def forward(self, *tensors: Tensor) -> Tensor:
        """What the file answers."""
        arrays = dict(zip(self._session.inputs, (tensor.numpy() for tensor in tensors), strict=True))
        return torch.from_numpy(self._session.answer(arrays)[0])


class _Examples(CalibrationDataReader):  # type: ignore[misc]
    """Batches one after the other, as the quantiser of ONNX Runtime asks for them."""

    def __init__(self, examples: Iterable[Inputs], names: list[str]) -> None:
        self._left: Iterator[Mapping[str, NDArray[Any]]] = iter([feed(batch, names) for batch in examples])
        self._first = next(self._left, None)
        if self._first is None:
            raise ConfigError("there is no example to take the ranges from; give at least one batch")

    def get_next(self) -> Mapping[str, NDArray[Any]] | None:
        """The next batch; None after the last."""
        given, self._first = self._first, next(self._left, None)
        return given


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser advises to prepare a network, which the exporter has done."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger().setLevel(level)
