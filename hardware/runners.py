"""What runs a network on this machine: one class for each runtime, found by its name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import onnxruntime
import torch
from torch import nn

from hardware.errors import DeviceError
from hardware.onnx_files import file_made, file_run
from hardware.onnx_session import PROVIDER, OnnxSession, check_level, timed
from hardware.options import EIGHT_BITS, MIXED, DeviceOptions
from hardware.peak_memory import peak_mib
from supernet.elastic.inputs import Inputs
from supernet.errors import did_you_mean
from supernet.registry import Registry


class Runner(Protocol):
    """One network, loaded, with a fixed input."""

    def burst(self, calls: int) -> list[int]:
        """Run it ``calls`` times in a row: the wall time of each, in nanoseconds."""
        ...


class Runtime(Protocol):
    """How networks are run: the fields become part of a device's identity.

    One may also have `OnnxRuntime.file_run`, where it runs another file than the exported one, `OnnxRuntime.peak_mib`,
    where it can tell, and ``chip``, the name of what it runs networks on, where that is not the processor.
    """

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


def runtime_of(options: DeviceOptions) -> Runtime:
    """The runtime that the options name, here or where their address leads.

    Raises:
        SupernetError: for a runtime that is not registered.
        DeviceError: for an option that it does not take, or an agent that does not answer.
    """
    if options.address:
        from hardware.remote import RemoteRuntime

        return RemoteRuntime(options)
    return runtimes[options.runtime](options)


def bytes_run(runtime: Runtime, exported: Path | None) -> int | None:
    """The size of the file that a runtime runs for an exported one; None for a runtime that reads none."""
    if exported is None or not runtime.reads_onnx:
        return None
    which: Callable[[Path], Path] = getattr(runtime, "file_run", lambda same: same)
    return which(exported).stat().st_size


def peak_of(runtime: Runtime, module: nn.Module, file: Path | None, inputs: Inputs) -> float | None:
    """The most memory that running a network takes, in MiB, given as `Runtime.load` is; None where nobody can tell."""
    tell: Callable[[nn.Module, Path | None, Inputs], float | None] | None = getattr(runtime, "peak_mib", None)
    return tell(module, file, inputs) if tell else None


runtimes: Registry[Callable[[DeviceOptions], Runtime]] = Registry(
    "runtime",
    modules=tuple(f"hardware.{name}_runner" for name in ("openvino", "compiled", "executorch", "cuda")),
    group="supernet.runtimes",
)
"""Runtimes by name; each is made from the options of the device."""


def only_fp32(options: DeviceOptions) -> DeviceOptions:
    """The options, of a runtime that computes as the weights are.

    Raises:
        DeviceError: when they ask for another precision.
    """
    if options.precision != "fp32":
        raise DeviceError(
            f"{options.runtime} runs in fp32, and precision is {options.precision!r}; onnxruntime has "
            f"{', '.join(EIGHT_BITS)} and {MIXED}, openvino bf16, cuda tf32, fp16 and bf16"
        )
    return options


@runtimes.register("onnxruntime")
class OnnxRuntime:
    """ONNX Runtime on the processor, in float or in eight bits.

    Args:
        options: with ``precision`` fp32, or one of `hardware.quantise.TYPES`: files are then quantised before they are
            timed (`hardware.onnx_files`); or mixed, where files say themselves what is in eight bits
            (`hardware.mixed`).

    Raises:
        DeviceError: for another precision, or an optimisation level that there is not.
    """

    provider = PROVIDER
    reads_onnx = True

    def __init__(self, options: DeviceOptions) -> None:
        self.version: str = onnxruntime.__version__
        self.optimisation = check_level(options.optimisation)
        self.precision, self._threads = options.precision, options.threads
        known = ("fp32", *EIGHT_BITS, MIXED)
        if self.precision not in known:
            raise DeviceError(
                f"onnxruntime has no precision {self.precision!r}{did_you_mean(self.precision, known)}; "
                f"openvino has bf16 too, and a GPU (cuda) tf32, fp16 and bf16"
            )

    def load(self, module: nn.Module, file: Path | None, inputs: Inputs) -> Runner:
        """A session of the file; raises `ExportError` when ONNX Runtime cannot read or run it."""
        from hardware.export import feed

        assert file is not None
        used = file_made(file, self.precision, inputs)
        session = OnnxSession(str(used), self.optimisation, self._threads)
        session.give(feed(inputs, session.inputs))
        return session

    def file_run(self, exported: Path) -> Path:
        """The file that is run: one in eight bits lies beside the one in float."""
        return file_run(exported, self.precision)

    def peak_mib(self, module: nn.Module, file: Path | None, inputs: Inputs) -> float | None:
        """The most memory that a network takes that was loaded before, see `hardware.peak_memory`."""
        assert file is not None
        arrays = [tensor.numpy() for tensor in inputs.tensors]
        return peak_mib(self.file_run(file), arrays, self.optimisation, self._threads)


@runtimes.register("torch")
class TorchEager:
    """PyTorch itself, one operator after the other; needs no export."""

    provider = "eager"
    optimisation = "none"
    precision = "fp32"
    reads_onnx = False

    def __init__(self, options: DeviceOptions) -> None:
        self.version = str(torch.__version__)  # a TorchVersion is no plain JSON value
        self._threads = only_fp32(options).threads

    def load(self, module: nn.Module, file: Path | None, inputs: Inputs) -> Runner:
        """The module as it is."""
        return EagerCalls(partial(inputs.call, module), self._threads)


class EagerCalls:
    """Calls of PyTorch, without gradients.

    Args:
        call: runs the network once.
        threads: of one call.
    """

    def __init__(self, call: Callable[[], object], threads: int) -> None:
        self._call, self._threads = call, threads

    def burst(self, calls: int) -> list[int]:
        """See `Runner`, with as many threads as the options say."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                return timed(self._call, calls)
        finally:
            torch.set_num_threads(before)
