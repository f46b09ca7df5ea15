"""PyTorch with its own compiler: one network, one graph, one shape."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import nn

from hardware.errors import DeviceError, ExportError
from hardware.options import DeviceOptions
from hardware.runners import EagerCalls, Runner, only_fp32, runtimes
from supernet.elastic.inputs import Inputs

COMPILERS = ("g++", "clang++")


@runtimes.register("compiled")
class Compiled:
    """``torch.compile`` of every network; each takes seconds to compile.

    Raises:
        DeviceError: where there is no C++ compiler, which it needs.
    """

    provider = "inductor"
    optimisation = "compile"
    precision = "fp32"
    reads_onnx = False

    def __init__(self, options: DeviceOptions) -> None:
        self.version = str(torch.__version__)
        self._threads = only_fp32(options).threads
        if not any(map(shutil.which, COMPILERS)):
            raise DeviceError(f"the runtime 'compiled' needs a C++ compiler, one of {', '.join(COMPILERS)}")

    def load(self, module: nn.Module, file: Path | None, inputs: Inputs) -> Runner:
        """The module, compiled; raises `ExportError` when it is more than one graph."""
        call = _own_code(module, inputs)
        try:
            with torch.inference_mode():
                call()
        except (torch._dynamo.exc.TorchDynamoException, RuntimeError) as error:
            line = str(error).strip().splitlines()[0]
            raise ExportError(f"{type(module).__name__} cannot be compiled: {line}") from error
        return EagerCalls(call, self._threads)


def _own_code(module: nn.Module, inputs: Inputs) -> Any:
    """A compiled call of a network.

    What was compiled is kept by the code of the function, eight times at most and looked through in turn; so every
    network gets a function with code of its own.
    """

    def call() -> Any:
        """Once."""
        return inputs.call(module)

    alone = FunctionType(call.__code__.replace(), call.__globals__, "call", None, call.__closure__)
    return torch.compile(alone, fullgraph=True, dynamic=False)
