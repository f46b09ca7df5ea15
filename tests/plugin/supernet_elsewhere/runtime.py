"""A runtime: PyTorch in double precision."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter_ns

import torch
from torch import nn

from hardware.options import DeviceOptions
from supernet.elastic.inputs import Inputs


class Eager:
    """Eager PyTorch on doubles."""

    version = str(torch.__version__)
    provider = "eager"
    optimisation = "none"
    precision = "fp64"
    reads_onnx = False

    def __init__(self, options: DeviceOptions) -> None:
        pass

    def load(self, module: nn.Module, file: Path | None, inputs: Inputs) -> _Loaded:
        return _Loaded(module.double(), inputs.to(dtype=torch.float64))


class _Loaded:
    def __init__(self, module: nn.Module, inputs: Inputs) -> None:
        self.module, self.inputs = module, inputs

    @torch.inference_mode()
    def burst(self, calls: int) -> list[int]:
        times = []
        for _ in range(calls):
            start = perf_counter_ns()
            self.inputs.call(self.module)
            times.append(perf_counter_ns() - start)
        return times
