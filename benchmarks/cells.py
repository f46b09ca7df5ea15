"""Memory and time of differentiable cells: partial channels, and a mixed search inside reversible branches.

One step is forward, loss and backward of a network of eight DARTS cells of 16 channels on four images of 32 px,
all candidates mixed, with gradients of weights and logits. K is the share of partial channels (PC-DARTS,
arXiv:1907.05737); both networks are this project's, in one process and in turns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.contract import Result, arguments
from benchmarks.memory_peaks import Step, cpu_seconds, peak_bytes
from supernet.elastic.relaxation import Relaxation
from supernet.presets.darts import DARTS
from supernet.seeds import generator

SHARES = (1, 2, 4, 8)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = arguments("cells", __doc__ or "")
    parser.add_argument("--turns", type=int, default=5, help="times each step is timed, the best counts")
    args = parser.parse_args()
    torch.set_num_threads(1)
    result = Result("cells", vars(args))
    shares = (1, 4) if args.quick else SHARES
    cells = 3 if args.quick else 8
    rows(result, {f"K={share}": cell_step(share, cells) for share in shares}, 1 if args.quick else args.turns)
    result.finish(args.json)


def rows(result: Result, steps: dict[str, Step], turns: int) -> None:
    """One row for each step, relative to the first."""
    peaks = {name: peak_bytes(step) for name, step in steps.items()}
    seconds = cpu_seconds(steps, turns)
    first = next(iter(steps))
    for name in steps:
        memory, time = peaks[name] / peaks[first], seconds[name] / seconds[first]
        result.rows.append(
            {
                "step": name,
                "peak_mib": peaks[name] / 2**20,
                "memory": memory,
                "cpu_ms": 1e3 * seconds[name],
                "time": time,
            }
        )
        if name == "K=4":
            result.figures |= {"k4_memory": memory, "k4_time": time}


def cell_step(share: int, cells: int) -> Step:
    """A step of the search network with partial channels."""
    preset = DARTS(cells=cells, share=share)
    supernet = preset.supernet().train()
    logits = {
        name: torch.zeros(len(members)).requires_grad_()
        for name, members in supernet.relaxable.members.items()
    }
    x = torch.randn(4, 3, 32, 32, generator=generator(0, "images"))
    arch = preset.space.largest()

    def answer() -> Tensor:
        """Of the mixture of all candidates."""
        weights = {name: one.softmax(0) for name, one in logits.items()}
        out: Tensor = supernet(x, Relaxation(weights, arch))
        return out

    return stepping(answer, [*supernet.parameters(), *logits.values()])


def stepping(answer: Callable[[], Tensor], learning: list[Any]) -> Step:
    """Forward, loss and backward; gradients are forgotten at the end."""

    def step() -> None:
        """One step."""
        out = answer()
        F.cross_entropy(out, torch.arange(len(out)) % out.shape[1]).backward()  # type: ignore[no-untyped-call]
        for tensor in learning:
            tensor.grad = None

    return step


if __name__ == "__main__":
    main()
