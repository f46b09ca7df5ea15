"""ExecuTorch on the processor: a network as a phone would run it, lowered to XNNPACK; an extra."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from hardware.errors import DeviceError, ExportError
from hardware.onnx_session import timed
from hardware.options import DeviceOptions
from hardware.runners import Runner, only_fp32, runtimes
from supernet.elastic.inputs import Inputs

BACKEND = "XnnpackBackend"


@runtimes.register("executorch")
class ExecuTorch:
    """ExecuTorch with XNNPACK; needs the extra ``executorch``.

    Args:
        options: in fp32.

    Raises:
        DeviceError: when ExecuTorch is not installed or has no XNNPACK, or for another precision.
    """

    provider = BACKEND
    optimisation = "xnnpack"
    precision = "fp32"
    reads_onnx = False

    def __init__(self, options: DeviceOptions) -> None:
        only_fp32(options)
        self._threads = options.threads
        self._runtime = _module("executorch.runtime").Runtime.get()
        self.version: str = version("executorch")
        if BACKEND not in self._runtime.backend_registry.registered_backend_names:
            raise DeviceError(
                f"this ExecuTorch ({self.version}) was built without {BACKEND}; install its own wheel"
            )

    def load(self, module: nn.Module, file: Path | None, inputs: Inputs) -> Runner:
        """The module, lowered; raises `ExportError` when ExecuTorch cannot lower or run it."""
        exir = _module("executorch.exir")
        partitioner = _module("executorch.backends.xnnpack.partition.xnnpack_partitioner").XnnpackPartitioner
        try:
            with _quiet(), torch.no_grad():
                traced = torch.export.export(module, inputs.args, dict(inputs.kwargs))
                lowered = exir.to_edge_transform_and_lower(
                    traced, partitioner=[partitioner()]
                ).to_executorch()
                _have_threads(self._threads)
                checked = _module("executorch.runtime").Verification.Minimal
                program = self._runtime.load_program(lowered.buffer, verification=checked)
                method = program.load_method("forward")
                method.execute(inputs.tensors)
        except Exception as error:  # each of its passes raises what it likes
            raise ExportError(f"ExecuTorch {self.version} cannot run the network: {error}") from error
        return _Method(partial(method.execute, inputs.tensors), program)


class _Method:
    """One method; its program has to live as long."""

    def __init__(self, call: partial[object], program: object) -> None:
        self._call, self._program = call, program

    def burst(self, calls: int) -> list[int]:
        """See `Runner`."""
        return timed(self._call, calls)


def _have_threads(count: int) -> None:
    """Its pool is the process's, with as many threads as there are cores, unless it is told before networks are loaded.

    Those that are loaded run in the pool that there was: a new one leaves them with none, and the process breaks off.
    """
    pool = _module("executorch.extension.pybindings.portable_lib")
    if pool._threadpool_get_thread_count() != count:
        pool._unsafe_reset_threadpool(count)


def _module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise DeviceError(
            "the runtime 'executorch' is not installed; it comes with the extra: pip install 'supernet[executorch]'"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Its passes tell at length what they do."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
