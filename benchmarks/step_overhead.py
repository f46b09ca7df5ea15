"""What being elastic costs: a training step in the supernet over one of the same network cut out.

    python -m benchmarks.step_overhead [--preset ofa_mobilenetv3 | --timm NAME] [--repeats N] [--json FILE]

One step is forward, backward and clearing the gradients: 16 images of 128 px, one thread. The two run
turn by turn in one process; a ratio is that of the two steps of one turn, a figure the median over the
turns. ``extract_ms``: the median of cutting a random network out. ``difference``: the largest between
the outputs of the two in evaluation mode. ``call_ms_smallest``: what one call of the smallest subnet, bound
once (``net.subnet(arch)``), takes longer than the cut-out network on one image without gradients;
``short_call_ms_smallest``: the same for ``net(x, arch)``, which binds it anew.

The peer is once-for-all: 1.020 / 1.035 / 1.050, 21 to 68 ms.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.contract import Result, arguments
from benchmarks.costs import supernet_of
from benchmarks.peers import ofa_supernet
from supernet.elastic.supernet import Supernet
from supernet.presets import presets
from supernet.space import Architecture


def main() -> None:
    """Run the benchmark."""
    parser = arguments("step_overhead", __doc__.partition("\n")[0])
    parser.add_argument("--preset", default="ofa_mobilenetv3", help=f"one of {', '.join(presets)}")
    parser.add_argument("--timm", metavar="NAME", help="a timm model made elastic instead of a preset")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--resolution", type=int, default=128, help="side of the images in pixels")
    parser.add_argument("--repeats", type=int, default=31, help="turns per architecture")
    parser.add_argument("--random", type=int, default=3, help="random architectures")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    if args.quick:
        args.batch, args.resolution, args.repeats, args.random = 2, 64, 3, 1
    result = Result("step_overhead", vars(args))
    net = supernet_of(args.preset, args.timm, args.resolution)
    x = torch.randn(args.batch, 3, args.resolution, args.resolution)
    randoms = [net.space.sample(Random(f"{args.seed}/{i}")) for i in range(args.random)]
    for name, archs in (
        ("largest", [net.space.largest()]),
        ("random", randoms),
        ("smallest", [net.space.smallest()]),
    ):
        rows = [measured(net, arch, x, args.repeats) for arch in archs]
        result.rows += [{"network": name, **row} for row in rows]
        result.figures[f"train_ratio_{name}"] = statistics.median(row["ratio"] for row in rows)
    ours = tuple(result.rows)
    if not args.quick and (peer := ofa_supernet()):
        for name in ("largest", "random", "smallest"):
            row = beside(peer, name, x, args.repeats)
            result.rows.append({"network": f"{name} of once-for-all", **row})
            result.figures[f"ofa_train_ratio_{name}"] = row["ratio"]
    net.eval()
    smallest, image = net.space.smallest(), x[:1]
    subnet, alone = net.subnet(smallest), net.extract(smallest).eval()
    for figure, call in (
        ("call_ms_smallest", lambda: subnet(image)),
        ("short_call_ms_smallest", lambda: net(image, smallest)),
    ):
        with torch.inference_mode():
            row = compared(call, lambda: alone(image), 4 * args.repeats)
        result.figures[figure] = row["dynamic_ms"] - row["static_ms"]
    result.figures["extract_ms"] = statistics.median(row["extract_ms"] for row in ours)
    result.figures["difference"] = max(row["difference"] for row in ours)
    result.finish(args.json)


def measured(net: Supernet, arch: Architecture, x: Tensor, repeats: int) -> dict[str, float]:
    """Ratio of the steps, time of cutting out and difference of the outputs for one architecture."""
    times = [seconds(lambda: net.extract(arch)) for _ in range(max(repeats, 5))]
    alone = net.extract(arch)
    net.eval()
    with torch.no_grad():
        difference = (net(x, arch) - alone.eval()(x)).abs().max().item()
    net.train()
    alone.train()

    inside, outside = step(lambda: net(x, arch), net), step(lambda: alone(x), alone)
    row = compared(inside, outside, repeats)
    return row | {"extract_ms": 1e3 * statistics.median(times), "difference": difference}


def beside(peer: Any, name: str, x: Tensor, repeats: int) -> dict[str, float]:
    """The same for once-for-all's own supernet, at its own largest, a random and its smallest subnet."""
    kernel, expand, depth = {"largest": (7, 6, 4), "smallest": (3, 3, 2)}.get(name, (5, 4, 3))
    peer.set_active_subnet(ks=kernel, e=expand, d=depth)
    times = [seconds(peer.get_active_subnet) for _ in range(5)]
    alone = peer.get_active_subnet().train()
    peer.train()
    row = compared(step(lambda: peer(x), peer), step(lambda: alone(x), alone), repeats)
    return row | {"extract_ms": 1e3 * statistics.median(times)}


def step(forward: Callable[[], Tensor], module: nn.Module) -> Callable[[], None]:
    """One training step: forward, backward, gradients cleared."""

    def run() -> None:
        forward().square().mean().backward()
        module.zero_grad()

    return run


def compared(inside: Callable[[], None], outside: Callable[[], None], repeats: int) -> dict[str, float]:
    """Median ratio of two steps that take turns, and their times."""
    inside()
    outside()
    turns = []
    for i in range(repeats):
        # Whoever runs second finds the cache warm; so they take turns at that as well.
        first, second = (inside, outside) if i % 2 else (outside, inside)
        a, b = seconds(first), seconds(second)
        turns.append((a, b) if i % 2 else (b, a))
    return {
        "ratio": statistics.median(dynamic / static for dynamic, static in turns),
        "dynamic_ms": 1e3 * statistics.median(dynamic for dynamic, _ in turns),
        "static_ms": 1e3 * statistics.median(static for _, static in turns),
    }


def seconds(run: Callable[[], object]) -> float:
    """Time on the processor of this thread: what other programs do is not counted."""
    start = time.thread_time()
    run()
    return time.thread_time() - start


if __name__ == "__main__":
    main()
