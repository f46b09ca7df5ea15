"""What being elastic costs: a training step in the supernet over one of the same network cut out.

    python -m benchmarks.step_overhead [--preset ofa_mobilenetv3 | --timm NAME] [--repeats N] [--json FILE]

One step is forward, backward and clearing the gradients: 16 images of 128 px, one thread. The two run
turn by turn in one process; a ratio is that of the two steps of one turn, a figure the median over the
turns. ``extract_ms``: the median of cutting a random network out. ``difference``: the largest between
the outputs of the two in evaluation mode. The peer is once-for-all: 1.020 / 1.035 / 1.050, 21 to 68 ms.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from random import Random

import torch
from torch import Tensor

from benchmarks.contract import Result, arguments
from benchmarks.costs import supernet_of
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
    net.eval()
    result.figures["extract_ms"] = statistics.median(row["extract_ms"] for row in result.rows)
    result.figures["difference"] = max(row["difference"] for row in result.rows)
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

    def inside() -> None:
        net(x, arch).square().mean().backward()
        net.zero_grad()

    def outside() -> None:
        alone(x).square().mean().backward()
        alone.zero_grad()

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
        "extract_ms": 1e3 * statistics.median(times),
        "difference": difference,
    }


def seconds(run: Callable[[], object]) -> float:
    """Time on the processor of this thread: what other programs do is not counted."""
    start = time.thread_time()
    run()
    return time.thread_time() - start


if __name__ == "__main__":
    main()
