"""A network in ONNX Runtime, timed call by call; needs neither PyTorch nor a supernet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from hardware.errors import DeviceError, ExportError
from supernet.errors import did_you_mean

PROVIDER = "CPUExecutionProvider"
OPTIMISED = "optimised.onnx"
"""The graph as a traced session runs it."""

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

LEVELS = {
    "disable": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def timed(call: Callable[[], object], calls: int) -> list[int]:
    """The nanoseconds of each of so many calls in a row."""
    now, times = perf_counter_ns, [0] * calls
    for i in range(calls):
        start = now()
        call()
        times[i] = now() - start
    return times


class OnnxSession:
    """One network, sequential, with threads that sleep rather than spin.

    Spinning threads would heat the core that the next network is timed on.

    Args:
        model: path of the file, or its content.
        optimisation: one of `LEVELS`.
        threads: of one forward pass.
        trace: a folder for `end_trace`, and for the graph as it is run; nothing is traced otherwise.

    Raises:
        DeviceError: for a level that there is not.
        ExportError: when ONNX Runtime cannot read the network.
    """

    def __init__(
        self, model: str | bytes, optimisation: str, threads: int, trace: Path | None = None
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = LEVELS[check_level(optimisation)]
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        options.log_severity_level = 3
        if trace is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(trace / "trace")
            options.optimized_model_filepath = str(trace / OPTIMISED)
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=[PROVIDER])
        except ORT_ERRORS as error:
            what = model if isinstance(model, str) else "what was sent"
            raise ExportError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load {what}: {error}"
            ) from error
        self.inputs: list[str] = [entry.name for entry in self._session.get_inputs()]
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._given: dict[str, NDArray[Any]] = {}

    def give(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """What every call is run with.

        Raises:
            ExportError: when the network does not run with it.
        """
        try:
            self._session.run(self._outputs, dict(arrays))
        except (*ORT_ERRORS, ValueError) as error:
            raise ExportError(
                f"ONNX Runtime {onnxruntime.__version__} cannot run the network: {error}"
            ) from error
        self._given = dict(arrays)

    def burst(self, calls: int) -> list[int]:
        """Run it ``calls`` times in a row: the wall time of each, in nanoseconds."""
        run, names, given = self._session.run, self._outputs, self._given
        return timed(lambda: run(names, given), calls)

    def answer(self, arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """What the network answers."""
        return list(self._session.run(self._outputs, dict(arrays)))

    def end_trace(self) -> Path:
        """Where the times of every node of every call were written, in the format of Chrome's tracing."""
        return Path(self._session.end_profiling())


def check_level(name: str) -> str:
    """The name itself, when it is one of `LEVELS`.

    Raises:
        DeviceError: when it is not; the message names the nearest.
    """
    if name not in LEVELS:
        raise DeviceError(f"no optimisation level is called {name!r}{did_you_mean(name, LEVELS)}")
    return name
