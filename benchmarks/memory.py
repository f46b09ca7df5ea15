"""What training without kept activations saves, and what it costs: memory and time over plain autograd.

    python -m benchmarks.memory [--depths 4,8,16,32] [--turns N] [--device cuda] [--json FILE]

The network is a stack of reversible inverted bottlenecks (64 channels as two streams of 32, expand 4, depth-wise 3x3,
56 px, batch 1) with a linear head; a step is forward, backward and clearing the gradients, on one thread. Per mode or
peer M and depth D, ratios to plain autograd of the same network in the same run:

``M.memory.D``: highest memory of a step above what is held between steps (the allocator's, see `memory_peaks`).
``M.time.D``: processor time, the least of interleaved turns; on CUDA wall time.
``M.worst_gradient_error``: relative L2 distance of all gradients, the worst of the depths, in float32;
``reversible.worst_gradient_error_float64`` and ``fixed_point.worst_gradient_error`` at depth 4 on small maps, the
second with streams of whole numbers against plain autograd of those.
``growth_over_parameter_gradients``: what one more reversible block adds to the peak, over its parameters' gradients.

With ``--model NAME[,NAME..]`` it is instead models of timm, in the modes for any network and in ``auto`` within shares
of plain's bytes (`memory_model`): ``NAME.M.memory``, ``NAME.M.time``, and ``NAME.auto_S.of_budget`` for S percent.

``torch_checkpoint`` is torch.utils.checkpoint around each block, ``memcnn`` MemCNN 1.5.2 where it is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks import memory_model
from benchmarks.contract import Result, arguments
from benchmarks.memory_peaks import Step, clock_of, cpu_seconds, exact_kernels, peak_bytes
from supernet.memory.modes import modes
from supernet.presets.two_streams import inverted_bottleneck
from supernet.reversible import ReversibleStage

CHANNELS = 64
Way = Callable[["Stack"], nn.Module]
"""From a plain network to one of the same weights that is run in another way."""


class Stack(nn.Module):
    """A reversible stage and a linear head."""

    def __init__(self, depth: int, side: int, **options: Any) -> None:
        super().__init__()
        half = CHANNELS // 2
        pairs = [[inverted_bottleneck(half, 4 * half, half, 3) for _ in range(2)] for _ in range(depth)]
        self.stage = ReversibleStage.of(pairs, (CHANNELS, side, side), **options)
        self.head = nn.Linear(CHANNELS, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``(batch, 64, side, side)`` to ``(batch, 10)``."""
        return self.top(torch.cat(self.stage(*x.chunk(2, 1)), 1))

    def top(self, x: Tensor) -> Tensor:
        """The head."""
        out: Tensor = self.head(x.mean((2, 3)))
        return out


class Checkpointed(Stack):
    """torch.utils.checkpoint around each block of two branches."""

    def forward(self, x: Tensor) -> Tensor:
        """As `Stack`."""
        streams = x.chunk(2, 1)
        for f, g in zip(self.stage.couplings[::2], self.stage.couplings[1::2]):
            streams = checkpoint(_block, f, g, *streams, use_reentrant=False)
        return self.top(torch.cat(streams, 1))


def _block(f: nn.Module, g: nn.Module, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a = f(a, b)
    return a, g(b, a)


class MemCNN(nn.Module):
    """The branches of a stack in MemCNN's wrappers."""

    def __init__(self, plain: Stack) -> None:
        super().__init__()
        import memcnn

        self.plain = plain
        pairs = zip(plain.stage.couplings[::2], plain.stage.couplings[1::2])
        self.blocks = [
            memcnn.InvertibleModuleWrapper(memcnn.AdditiveCoupling(f.branch, g.branch), keep_input=False)
            for f, g in pairs
        ]

    def forward(self, x: Tensor) -> Tensor:
        """As `Stack`."""
        x = x * 1  # its blocks free what they are given
        for block in self.blocks:
            x = block(x)
        return self.plain.top(x)


def in_mode(name: str) -> Way:
    """The network in an execution mode."""

    def way(plain: Stack) -> nn.Module:
        network = deepcopy(plain)
        modes[name](network)
        return network

    return way


def checkpointed(plain: Stack) -> nn.Module:
    """The network with a checkpoint around each block."""
    network = deepcopy(plain)
    network.__class__ = Checkpointed
    return network


def ways(overlap: bool) -> dict[str, Way]:
    """Everything that is compared with plain autograd."""
    found: dict[str, Way] = {name: in_mode(name) for name in ("fused", "reversible")}
    found["torch_checkpoint"] = checkpointed
    if overlap:
        found["overlap"] = _overlapped
    try:
        import memcnn  # noqa: F401
    except ImportError:
        return found
    return found | {"memcnn": lambda plain: MemCNN(deepcopy(plain))}


def _overlapped(plain: Stack) -> nn.Module:
    network = in_mode("reversible")(plain)
    network.get_submodule("stage").overlap = True  # type: ignore[assignment]
    return network


def step_of(network: nn.Module, x: Tensor) -> Step:
    """One training step that leaves no gradients."""

    def step() -> None:
        network(x).square().sum().backward()
        network.zero_grad()

    return step


def gradients(network: nn.Module, x: Tensor) -> Tensor:
    """All gradients of a step in a row."""
    network(x).square().sum().backward()
    row = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]).double()
    network.zero_grad()
    return row


def error(network: nn.Module, plain: nn.Module, x: Tensor) -> float:
    """Relative L2 distance of the gradients of two networks."""
    with exact_kernels():
        expected = gradients(plain, x)
        return float((gradients(network, x) - expected).norm() / expected.norm())


def measured(depth: int, side: int, batch: int, turns: int, device: str, result: Result) -> None:
    """One depth: a row for each way, figures for all."""
    torch.manual_seed(depth)
    plain = Stack(depth, side).to(device)
    x = torch.randn(batch, CHANNELS, side, side, device=device)
    networks = {"plain": plain} | {name: way(plain) for name, way in ways(device == "cuda").items()}
    steps = {name: step_of(network, x) for name, network in networks.items()}
    peaks = {name: peak_bytes(step, device) for name, step in steps.items()}
    seconds = cpu_seconds(steps, turns, clock=clock_of(device))
    for name, network in networks.items():
        row = {
            "depth": depth,
            "way": name,
            "mb": peaks[name] / 1e6,
            "memory": peaks[name] / peaks["plain"],
            "ms": 1e3 * seconds[name],
            "time": seconds[name] / seconds["plain"],
            "error": error(network, plain, x) if name != "plain" else 0.0,
        }
        row["block_gradients"] = sum(p.nbytes for p in plain.stage.parameters()) / depth
        result.rows.append(row)
        if name != "plain":
            result.figures[f"{name}.memory.{depth}"] = row["memory"]
            result.figures[f"{name}.time.{depth}"] = row["time"]


def exactness(result: Result, device: str, side: int = 8) -> None:
    """The errors in float64 and in fixed point."""
    for name, dtype, options in (
        ("reversible.worst_gradient_error_float64", torch.float64, {}),
        ("fixed_point.worst_gradient_error", torch.float32, {"fixed_point": True}),
    ):
        torch.manual_seed(0)
        plain = Stack(4, side, **options).to(device, dtype)
        x = torch.randn(4, CHANNELS, side, side, dtype=dtype, device=device)
        result.figures[name] = error(in_mode("reversible")(plain), plain, x)


def main() -> None:
    """Run the benchmark."""
    parser = arguments("memory", __doc__.partition("\n")[0])
    parser.add_argument("--depths", default="4,8,16,32", help="blocks of the stacks, ascending")
    parser.add_argument("--model", metavar="NAME[,NAME..]", help="models of timm instead of stacks")
    parser.add_argument("--shares", default="0.75,0.5,0.334", help="of plain's bytes, that auto is given")
    parser.add_argument("--side", type=int, help="of the maps in pixels, 56; of a model's images, 224")
    parser.add_argument("--batch", type=int, help="1; of a model 8")
    parser.add_argument("--turns", type=int, default=5, help="timed steps of each way")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.quick:
        args.depths, args.side, args.turns = "2,4", 64 if args.model else 28, 1
    args.side, args.batch = args.side or (224 if args.model else 56), args.batch or (8 if args.model else 1)
    if args.model:
        result = Result("memory", vars(args))
        shares = [float(share) for share in args.shares.split(",")]
        for name in args.model.split(","):
            memory_model.measured(name, args.batch, args.side, args.turns, shares, args.device, result)
        result.finish(args.json)
        return
    depths = [int(depth) for depth in args.depths.split(",")]
    result = Result("memory", vars(args), columns=("depth", "way", "mb", "memory", "ms", "time", "error"))
    for depth in depths:
        measured(depth, args.side, args.batch, args.turns, args.device, result)
    for name in dict.fromkeys(row["way"] for row in result.rows if row["way"] != "plain"):
        errors = [row["error"] for row in result.rows if row["way"] == name]
        result.figures[f"{name}.worst_gradient_error"] = max(errors)
    free = [row for row in result.rows if row["way"] == "reversible"]
    growths = [
        1e6 * (deep["mb"] - shallow["mb"]) / (deep["depth"] - shallow["depth"]) / deep["block_gradients"]
        for shallow, deep in pairwise(free)
    ]
    if growths:
        result.figures["growth_over_parameter_gradients"] = max(growths)
    exactness(result, args.device)
    result.finish(args.json)


if __name__ == "__main__":
    main()
