"""PyTorch on an NVIDIA GPU: operator by operator, or as one graph that was captured once.

A call is timed as somebody waits for it who has the input on the GPU already: from the moment at which the GPU, with
nothing else to do, is told to begin, until the output lies ready there. Two events tell it, by the GPU's own clock.
What the processor takes to launch the kernels is in it as far as the GPU has to wait for that; of a small network,
operator by operator, it is nearly all. Not in it are the ways of the input to the GPU and of the output back, and
what it takes until the processor hears of the end. No call is queued behind another: that would tell throughput, and
hide the launches.

The network is a copy, and the caller's stays where it is and as it is. The GPU is the first that PyTorch sees; the
variable ``CUDA_VISIBLE_DEVICES`` chooses another one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hardware.device import chip
from hardware.errors import DeviceError, ExportError
from hardware.options import DeviceOptions
from hardware.runners import runtimes
from supernet.elastic.inputs import Inputs
from supernet.errors import did_you_mean

PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""Of weights and floating inputs. PyTorch alone would round what a convolution in fp32 multiplies to TF32, and what a
matrix product multiplies not; here neither is rounded in fp32, and both are in tf32."""
GPU = torch.device("cuda", 0)
WARM_CALLS = 3
"""Calls before a network is captured: libraries choose their kernels and reserve memory in the first."""


class Event(Protocol):
    """A mark among what the GPU has to do, as `torch.cuda.Event` has it."""

    def record(self) -> None:
        """Put it behind what was asked of the GPU so far."""

    def synchronize(self) -> None:
        """Wait until the GPU has come to it."""

    def elapsed_time(self, end_event: Any) -> float:
        """Milliseconds until a later one."""
        ...


@runtimes.register("cuda")
class Cuda:
    """PyTorch on the GPU, one operator after the other; needs no export.

    cuDNN takes the kernels that its rules say and tries none (``cudnn.benchmark`` is off, as PyTorch has it): which one
    wins a trial differs from day to day, and with it the latency.

    Args:
        options: with ``precision`` one of `PRECISIONS`.

    Raises:
        DeviceError: where PyTorch sees no NVIDIA GPU, or for another precision.
    """

    optimisation = "none"
    reads_onnx = False

    def __init__(self, options: DeviceOptions) -> None:
        self.precision = options.precision
        if self.precision not in PRECISIONS:
            raise DeviceError(
                f"CUDA has no precision {self.precision!r}{did_you_mean(self.precision, PRECISIONS)}; "
                f"it has {', '.join(PRECISIONS)}"
            )
        self.chip = _name_of_gpu()
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        self.version = f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {cudnn}"
        self.provider = f"launched by {chip()}"  # a slow processor makes small networks slow

    def load(self, module: nn.Module, file: Path | None, inputs: Inputs) -> CudaCalls:
        """A copy of the module on the GPU; raises `ExportError` when it does not run or fit there."""
        return self._loaded(module, self._there(inputs))

    def peak_mib(self, module: nn.Module, file: Path | None, inputs: Inputs) -> float:
        """The most memory of the GPU that a network takes at a time: its weights and activations, not its inputs.

        What libraries reserve once for all networks is not counted.
        """
        self.load(module, file, inputs)  # after this the libraries hold what they keep
        given = self._there(inputs)
        torch.cuda.synchronize(GPU)
        torch.cuda.reset_peak_memory_stats(GPU)
        before = torch.cuda.memory_allocated(GPU)
        self._loaded(module, given)
        return (torch.cuda.max_memory_allocated(GPU) - before) / 2**20

    def _there(self, inputs: Inputs) -> Inputs:
        """A copy of what the network is run with."""
        with _Told("the input does not fit on the GPU"):
            return inputs.to(GPU, PRECISIONS[self.precision]).map(Tensor.clone)

    def _loaded(self, module: nn.Module, given: Inputs) -> CudaCalls:
        name = type(module).__name__
        with _Told(f"{name} does not run on the GPU"):
            network = deepcopy(module).to(GPU, PRECISIONS[self.precision])
            with as_used(self.precision):
                call = self._prepared(partial(given.call, network), name)
        runner = CudaCalls(name, call, given, self.precision)
        runner.burst(1)
        return runner

    def _prepared(self, call: Callable[[], Any], name: str) -> Callable[[], Any]:
        """The call as it is timed."""
        return call


@runtimes.register("cuda_graph")
class CudaGraph(Cuda):
    """PyTorch on the GPU, each network captured once as a CUDA graph and replayed: one launch for all its kernels.

    See `Cuda`, with the same kernels in the same order.
    """

    optimisation = "graph"

    def __init__(self, options: DeviceOptions) -> None:
        super().__init__(options)
        self._stream = torch.cuda.Stream(GPU)  # type: ignore[no-untyped-call]
        self._broken: list[torch.cuda.CUDAGraph] = []

    def _prepared(self, call: Callable[[], Any], name: str) -> Callable[[], Any]:
        """The replay; networks that wait for the GPU on their way are found before they are captured.

        A capture that failed half-way leaves a trace of the graph in PyTorch's allocator, so such a graph is kept.
        """
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_CALLS):
                call()
            with _Told(f"{name} cannot be captured as one CUDA graph (the runtime cuda may run it)"):
                with _waiting_is_an_error():
                    call()
                self._broken.append(graph)
                with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                    outputs = call()
                self._broken.remove(graph)
        torch.cuda.current_stream().wait_stream(self._stream)
        return Replay(graph, outputs, call)


@dataclass(frozen=True, eq=False)
class Replay:
    """A captured network; calling it runs it once.

    Args:
        graph: reads and writes memory at fixed addresses.
        outputs: where it writes the answer.
        call: keeps alive what it reads.
    """

    graph: torch.cuda.CUDAGraph
    outputs: Any
    call: Callable[[], Any]

    def __call__(self) -> Any:
        """What the network answers, overwritten by the next call."""
        self.graph.replay()
        return self.outputs


class CudaCalls:
    """Calls of a network on the GPU.

    Args:
        name: of the network, in errors.
        call: runs it once.
        given: where it reads its inputs.
        precision: one of `PRECISIONS`.
    """

    def __init__(self, name: str, call: Callable[[], Any], given: Inputs, precision: str) -> None:
        self._failure = f"{name} does not run on the GPU"
        self._call, self._given, self._precision = call, given, precision
        self._start, self._end = _event(), _event()

    def burst(self, calls: int) -> list[int]:
        """See `hardware.runners.Runner`; raises `ExportError` when the memory of the GPU is used up."""
        with _Told(self._failure), as_used(self._precision):
            torch.cuda.synchronize()
            return timed_by_events(self._call, calls, self._start, self._end)

    def answer(self, inputs: Inputs) -> Any:
        """What the network answers, on the GPU and in its precision; `burst` goes on with these inputs."""
        with _Told(self._failure), as_used(self._precision):
            for there, tensor in zip(self._given.tensors, inputs.tensors, strict=True):
                there.copy_(tensor)
            answer = self._call()
            torch.cuda.synchronize()
        return answer


def timed_by_events(call: Callable[[], object], calls: int, start: Event, end: Event) -> list[int]:
    """The nanoseconds of each of so many calls, each of which begins when the one before has ended."""
    times = [0] * calls
    for i in range(calls):
        start.record()
        call()
        end.record()
        end.synchronize()
        times[i] = round(start.elapsed_time(end) * 1e6)
    return times


def _event() -> Event:
    event: Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    return event


@contextmanager
def as_used(precision: str) -> Iterator[None]:
    """As long as it lasts, PyTorch computes on the GPU as the device says, without gradients; then as it did before."""
    rounded, matmul = precision == "tf32", torch.backends.cuda.matmul
    before = matmul.allow_tf32
    convolutions = torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=rounded)
    with torch.cuda.device(GPU), torch.inference_mode(), convolutions:
        matmul.allow_tf32 = rounded
        try:
            yield
        finally:
            matmul.allow_tf32 = before


@dataclass(frozen=True)
class _Told:
    """Turns what PyTorch raises into an `ExportError`; keeps nothing of the call alive when that one is forgotten.

    No generator: since Python 3.12 one that raises is a cycle of its frame, its caller's and the error it was given,
    and nobody collects garbage while networks are timed.

    Args:
        what: did not work.
    """

    what: str

    def __enter__(self) -> None:
        """Nothing is needed before."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RuntimeError | TypeError):
            raise ExportError(f"{self.what}: {_in_words(error.__context__ or error)}") from error


def _in_words(cause: BaseException) -> str:
    """The first line; an error in a capture is the context of another, about the capture."""
    line = str(cause).strip().partition("\n")[0]
    return f"{line}; try a smaller batch" if isinstance(cause, torch.OutOfMemoryError) else line


@contextmanager
def _waiting_is_an_error() -> Iterator[None]:
    """As long as it lasts, what waits for the GPU raises: a capture that comes to it cannot be mended."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this mode does not find everything; the capture does
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _name_of_gpu() -> str:
    if torch.version.cuda is None or not torch.cuda.is_available():
        lacks = "was built without CUDA" if torch.version.cuda is None else "sees none"
        others = ", ".join(name for name in runtimes if name not in ("cuda", "cuda_graph"))
        raise DeviceError(
            f"the runtimes cuda and cuda_graph need an NVIDIA GPU, and PyTorch {torch.__version__} {lacks}; look at "
            f"`nvidia-smi` and the variable CUDA_VISIBLE_DEVICES, or take another runtime ({others})"
        )
    return torch.cuda.get_device_name(GPU)
