"""Your own device or runtime: one class that loads and times a network, and everything else works with it.

Here it is PyTorch in bfloat16. Where the networks run elsewhere, on a phone or a board, `load` sends the ONNX file
there and `burst` asks for the times. A package of your own registers it through an entry point (docs/design.md).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter_ns

import torch
from torch import nn

from hardware import DeviceOptions, ProfileOptions, profile, spread
from hardware.runners import runtimes
from predictors import Tabular
from supernet.elastic.inputs import Inputs
from supernet.presets import Mobile


class Loaded:
    """One network, ready to be timed."""

    def __init__(self, module: nn.Module, inputs: Inputs) -> None:
        self.module, self.inputs = module.bfloat16(), inputs.to(dtype=torch.bfloat16)

    @torch.inference_mode()
    def burst(self, calls: int) -> list[int]:
        """Run it so many times in a row: the nanoseconds of each."""
        times = []
        for _ in range(calls):
            start = perf_counter_ns()
            self.inputs.call(self.module)
            times.append(perf_counter_ns() - start)
        return times


@runtimes.register("bfloat16")
class Bfloat16:
    """The fields become part of the device's identity: latencies of another precision are another device's."""

    version = str(torch.__version__)
    provider = "eager"
    optimisation = "none"
    precision = "bf16"
    reads_onnx = False

    def __init__(self, options: DeviceOptions) -> None:
        torch.set_num_threads(options.threads)

    def load(self, module: nn.Module, file: Path | None, inputs: Inputs) -> Loaded:
        """The network as the runtime wants it; ``file`` is its ONNX where ``reads_onnx`` asks for one."""
        return Loaded(module, inputs)


def main() -> None:
    """Profile some subnets in that runtime, and predict the others."""
    net = Mobile(resolution=16, widths=(16, 24, 32), depths=(1, 2)).supernet().eval()
    costs, space = net.costs(), net.space
    archs = spread(space, 8, 0, costs.macs)
    with tempfile.TemporaryDirectory() as folder:
        measured = profile(
            net,
            archs,
            torch.zeros(1, 1, 16, 16),
            Path(folder),
            options=ProfileOptions(subnets=8, seconds=0.3, warm_ms=1),
            device=DeviceOptions(runtime="bfloat16"),
        )
    print(measured.device)
    predictor = Tabular(space, macs=costs.macs, params=costs.params)
    predictor.fit(measured.genes, measured.median_ms)
    for arch in (space.smallest(), space.largest()):
        found = predictor.predict(space.matrix([arch]))
        print(
            f"{arch.id}: {found.mean[0]:.3f} ms, {found.low[0]:.3f} to {found.high[0]:.3f} in 9 of 10 cases"
        )


if __name__ == "__main__":
    main()
