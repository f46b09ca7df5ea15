"""OpenVINO on the processor: reads the exported file, in 32 bits or, where the chip can, in bfloat16."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from hardware.errors import DeviceError, ExportError
from hardware.onnx_session import timed
from hardware.options import DeviceOptions
from hardware.runners import Runner, runtimes
from supernet.elastic.inputs import Inputs
from supernet.errors import did_you_mean

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
"""As the house calls them, and as OpenVINO does."""
TELEMETRY = "openvino_telemetry"


@runtimes.register("openvino")
class OpenVino:
    """OpenVINO on the processor; needs the extra ``openvino``.

    Args:
        options: with ``precision`` fp32 or bf16.

    Raises:
        DeviceError: when OpenVINO is not installed, or the processor does not have the precision.
    """

    provider = "CPU"
    optimisation = "latency"
    reads_onnx = True

    def __init__(self, options: DeviceOptions) -> None:
        self._core = _openvino().Core()
        self.version: str = str(_openvino().get_version()).partition("-")[0]
        self.precision = options.precision
        if options.precision not in PRECISIONS:
            raise DeviceError(
                f"openvino has no precision {options.precision!r}{did_you_mean(options.precision, PRECISIONS)}"
            )
        able = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if options.precision == "bf16" and "BF16" not in able:
            raise DeviceError(
                f"this processor has no bf16 in OpenVINO (it has {', '.join(sorted(able))}); use precision=fp32"
            )
        self._properties = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[options.precision],
            "INFERENCE_NUM_THREADS": options.threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "ENABLE_CPU_PINNING": False,  # the profiler pins
        }

    def load(self, module: nn.Module, file: Path | None, inputs: Inputs) -> Runner:
        """The file, compiled for one shape; raises `ExportError` when OpenVINO cannot read or run it."""
        try:
            model = self._core.read_model(str(file))
            ports = [port.any_name for port in model.inputs]
            arrays = dict(zip(ports, (tensor.numpy() for tensor in inputs.tensors), strict=True))
            model.reshape({name: list(array.shape) for name, array in arrays.items()})
            request = self._core.compile_model(model, "CPU", self._properties).create_infer_request()
            request.infer(arrays)
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"OpenVINO {self.version} cannot run {file}: {error}") from error
        return _Request(request)


class _Request:
    def __init__(self, request: Any) -> None:
        self._request = request

    def burst(self, calls: int) -> list[int]:
        """See `Runner`; the inputs lie where the request reads them."""
        return timed(self._request.infer, calls)


def _openvino() -> ModuleType:
    try:
        with _untold():
            return import_module("openvino")
    except ImportError as error:
        raise DeviceError(
            "the runtime 'openvino' is not installed; it comes with the extra: pip install 'supernet[openvino]'"
        ) from error


@contextmanager
def _untold() -> Iterator[None]:
    """As long as it lasts, there is no telemetry: to be imported is otherwise told the makers of OpenVINO, unasked."""
    modules: dict[str, Any] = sys.modules
    before = {name: modules[name] for name in (TELEMETRY,) if name in modules}
    modules[TELEMETRY] = None  # what is None here cannot be imported
    try:
        yield
    finally:
        del modules[TELEMETRY]
        modules |= before
