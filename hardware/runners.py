"""What runs a network on this machine: one class for each runtime, found by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Protocol

import torch
from torch import nn

from hardware.errors import DeviceError, ExportError
from hardware.options import DeviceOptions
from supernet.elastic.inputs import Inputs
from supernet.errors import did_you_mean
from supernet.registry import Registry


class Runner(Protocol):
    """One network, loaded, with a fixed input."""

    def burst(self, calls: int) -> list[int]:
        """Run it ``calls`` times in a row: the wall time of each, in nanoseconds."""
        ...


class Runtime(Protocol):
    """How networks are run: the fields become part of a device's identity."""

    version: str
    provider: str
    optimisation: str
    precision: str
    reads_onnx: bool
    """Whether `load` needs the network as a file."""

    def load(self, module: nn.Module, file: Path | None, inputs: Inputs) -> Runner:
        """Make a network ready to run.

        Args:
            module: the plain network, in eval mode.
            file: the same network as ONNX; None for a runtime that does not read it.
            inputs: what it is run with.
        """
        ...


runtimes: Registry[Callable[[DeviceOptions], Runtime]] = Registry("runtime", group="supernet.runtimes")
"""Runtimes by name; each is made from the options of the device."""


class _Local:
    """A network that is run by calling something in this process."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call

    def burst(self, calls: int) -> list[int]:
        """The nanoseconds of each call."""
        call, now, times = self._call, perf_counter_ns, [0] * calls
        for i in range(calls):
            start = now()
            call()
            times[i] = now() - start
        return times


@runtimes.register("onnxruntime")
class OnnxRuntime:
    """ONNX Runtime on the processor, sequential, with threads that sleep rather than spin.

    Spinning threads would heat the core that the next network is timed on.
    """

    provider = "CPUExecutionProvider"
    precision = "fp32"
    reads_onnx = True

    def __init__(self, options: DeviceOptions) -> None:
        import onnxruntime

        levels = onnxruntime.GraphOptimizationLevel
        known = {
            "disable": levels.ORT_DISABLE_ALL,
            "basic": levels.ORT_ENABLE_BASIC,
            "extended": levels.ORT_ENABLE_EXTENDED,
            "all": levels.ORT_ENABLE_ALL,
        }
        if options.optimisation not in known:
            hint = did_you_mean(options.optimisation, known)
            raise DeviceError(f"no optimisation level is called {options.optimisation!r}{hint}")
        self.version: str = onnxruntime.__version__
        self.optimisation = options.optimisation
        self._options = onnxruntime.SessionOptions()
        self._options.graph_optimization_level = known[options.optimisation]
        self._options.intra_op_num_threads = self._options.inter_op_num_threads = options.threads
        self._options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        self._options.log_severity_level = 3

    def load(self, module: nn.Module, file: Path | None, inputs: Inputs) -> Runner:
        """A session of the file; raises `ExportError` when ONNX Runtime cannot read it."""
        import onnxruntime

        from hardware.export import ORT_ERRORS, feed

        try:
            session = onnxruntime.InferenceSession(str(file), self._options, providers=[self.provider])
        except ORT_ERRORS as error:
            raise ExportError(f"ONNX Runtime {self.version} cannot load {file}: {error}") from error
        given = feed(inputs, [entry.name for entry in session.get_inputs()])
        names = [output.name for output in session.get_outputs()]
        return _Local(lambda: session.run(names, given))


@runtimes.register("torch")
class TorchEager:
    """PyTorch itself, one operator after the other; needs no export."""

    provider = "eager"
    optimisation = "none"
    precision = "fp32"
    reads_onnx = False

    def __init__(self, options: DeviceOptions) -> None:
        self.version = str(torch.__version__)  # a TorchVersion is no plain JSON value
        self._threads = options.threads

    def load(self, module: nn.Module, file: Path | None, inputs: Inputs) -> Runner:
        """The module as it is."""
        return _Torch(module, inputs, self._threads)


class _Torch(_Local):
    def __init__(self, module: nn.Module, inputs: Inputs, threads: int) -> None:
        super().__init__(lambda: inputs.call(module))
        self._threads = threads

    def burst(self, calls: int) -> list[int]:
        """See `Runner`, with as many threads as the options say."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                return super().burst(calls)
        finally:
            torch.set_num_threads(before)
