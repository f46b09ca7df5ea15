"""Memory and time of differentiable cells: partial channels, and a mixed search inside reversible branches.

One step is forward, loss and backward of a network of eight DARTS cells of 16 channels on four images of 32 px,
all candidates mixed, with gradients of weights and logits. K is the share of partial channels (PC-DARTS,
arXiv:1907.05737); both networks are this project's, in one process and in turns.

The second table is a stack of eight two-stream blocks of 64 channels at 56 px, batch 1, whose branches are inverted
bottlenecks of ratio 4 with group norms: one candidate (a 5x5 kernel) under plain autograd, three of them mixed (3x3,
5x5, 7x7), and the same memory-free.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.contract import Result, arguments
from benchmarks.memory_peaks import Step, cpu_seconds, peak_bytes
from supernet.elastic.relaxation import Relaxation
from supernet.elastic.supernet import Supernet
from supernet.presets.candidates import OneOf
from supernet.presets.darts import DARTS
from supernet.presets.plan_builder import PlanBuilder
from supernet.reversible import ReversibleStage
from supernet.seeds import generator
from supernet.space import Choice, SearchSpace

SHARES = (1, 2, 4, 8)
KERNELS = (3, 5, 7)


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
    blocks = 2 if args.quick else 8
    stack = {
        "one path, plain": stack_step(blocks, mixes=False, execution="plain"),
        "three mixed, plain": stack_step(blocks, mixes=True, execution="plain"),
        "three mixed, reversible": stack_step(blocks, mixes=True, execution="reversible"),
    }
    rows(result, stack, 1 if args.quick else args.turns)
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
        if name == "three mixed, reversible":
            result.figures["mixed_reversible_memory"] = memory


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


def stack_step(blocks: int, *, mixes: bool, execution: str) -> Step:
    """A step of reversible blocks whose branches are candidates."""
    choices = [Choice(f"{i}.{letter}", KERNELS) for i in range(blocks) for letter in "FG"]
    space = SearchSpace(tuple(choices))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        branches = [[OneOf(*(bottleneck(kernel) for kernel in KERNELS)) for _ in "FG"] for _ in range(blocks)]
        network = Stack(ReversibleStage.of(branches))
    wiring = PlanBuilder(network, space)
    for k, choice in enumerate(choices):
        wiring.one_of(f"stage.couplings.{k}.branch", choice.name, KERNELS)
    supernet = Supernet(network, wiring.plan()).train()
    logits = {choice.name: torch.zeros(len(KERNELS)).requires_grad_() for choice in choices}
    arch = space.architecture([KERNELS.index(5)] * len(space))
    x = torch.randn(1, 64, 56, 56, generator=generator(0, "maps"))

    def answer() -> Tensor:
        """Of one path, or of the mixture."""
        weights = {name: one.softmax(0) for name, one in logits.items()}
        out: Tensor = supernet.subnet(Relaxation(weights, arch) if mixes else arch, execution=execution)(x)
        return out

    return stepping(answer, [*supernet.parameters(), *logits.values()])


class Stack(nn.Module):
    """A reversible stage on the halves of its input, and a mean over places."""

    def __init__(self, stage: ReversibleStage) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels)``."""
        return torch.cat(self.stage(*x.chunk(2, 1)), 1).mean((2, 3))


def bottleneck(kernel: int, channels: int = 32, ratio: int = 4) -> nn.Sequential:
    """Expand, depth-wise, project."""
    wide = ratio * channels
    return nn.Sequential(
        nn.Conv2d(channels, wide, 1, bias=False), nn.GroupNorm(8, wide), nn.Hardswish(),
        nn.Conv2d(wide, wide, kernel, padding=kernel // 2, groups=wide, bias=False),
        nn.GroupNorm(8, wide), nn.Hardswish(),
        nn.Conv2d(wide, channels, 1, bias=False), nn.GroupNorm(8, channels),
    )  # fmt: skip


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
