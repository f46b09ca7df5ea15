"""A runtime: PyTorch in double precision."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter_ns

import torch
from torch import Tensor, nn

from hardware.options import DeviceOptions


class Eager:
    """Eager PyTorch on doubles."""

    version = str(torch.__version__)
    provider = "eager"
    optimisation = "none"
    precision = "fp64"
    reads_onnx = False

    def __init__(self, options: DeviceOptions) -> None:
        pass

    def load(self, module: nn.Module, file: Path | None, example: Tensor) -> _Loaded:
        return _Loaded(module.double(), example.double())


class _Loaded:
    def __init__(self, module: nn.Module, example: Tensor) -> None:
        self.module, self.example = module, example

    @torch.inference_mode()
    def burst(self, calls: int) -> list[int]:
        times = []
        for _ in range(calls):
            start = perf_counter_ns()
            self.module(self.example)
            times.append(perf_counter_ns() - start)
        return times
