"""Exact costs of many architectures from tables: how many a second, and whether they are the counted ones.

    python -m benchmarks.costs [--preset ofa_mobilenetv3 | --timm NAME] [--architectures N] [--json FILE]

``architectures_per_second``: multiply-adds and parameters together, one core, the median of five runs.
``mismatches``: of ``--counted`` networks, cut out, those whose multiply-adds (`torch.utils.flop_counter`),
parameters or bytes differ. The peer is once-for-all's search: 950 to 1,200 architectures a second.
"""

from __future__ import annotations

import statistics
import time
from random import Random

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.contract import Result, arguments
from supernet.elastic.costs import Costs
from supernet.elastic.supernet import Supernet
from supernet.presets import presets
from supernet.space import Architecture


def main() -> None:
    """Run the benchmark."""
    parser = arguments("costs", __doc__.partition("\n")[0])
    parser.add_argument("--preset", default="ofa_mobilenetv3", help=f"one of {', '.join(presets)}")
    parser.add_argument("--timm", metavar="NAME", help="a timm model made elastic instead of a preset")
    parser.add_argument("--resolution", type=int, default=224, help="side of the images in pixels")
    parser.add_argument("--architectures", type=int, default=1_000_000, help="timed at once")
    parser.add_argument("--counted", type=int, default=100, help="random architectures that are also counted")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.quick:
        args.resolution, args.counted, args.architectures = 64, 4, 200_000
    result = Result("costs", vars(args))
    net = supernet_of(args.preset, args.timm, args.resolution)
    shape = (1, 3, args.resolution, args.resolution)
    start = time.perf_counter()
    costs = net.costs(shape)
    result.figures["prepare_seconds"] = time.perf_counter() - start
    result.figures["architectures_per_second"] = rate(net, costs, args.architectures, args.seed)
    archs = [net.space.largest(), net.space.smallest()]
    archs += [net.space.sample(Random(f"{args.seed}/{i}")) for i in range(args.counted)]
    wrong = [row for row in (compare(net, costs, arch, shape) for arch in archs) if row is not None]
    result.rows += wrong[:20] or [
        {"network": args.timm or args.preset, "counted": len(archs), "mismatches": 0}
    ]
    result.figures["counted"] = len(archs)
    result.figures["mismatches"] = len(wrong)
    result.finish(args.json)


def supernet_of(preset: str, timm: str | None, resolution: int) -> Supernet:
    """The supernet whose architectures are counted."""
    if timm is None:
        return presets[preset]().supernet().eval()
    from supernet.elastic.elasticise import elasticise

    return elasticise(timm, (1, 3, resolution, resolution)).eval()


def rate(net: Supernet, costs: Costs, count: int, seed: int) -> float:
    """Architectures a second, multiply-adds and parameters together."""
    most = [len(choice.values) for choice in net.space.choices]
    genes = np.random.default_rng(seed).integers(0, most, (count, len(net.space)))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        costs.macs(genes)
        costs.params(genes)
        seconds.append(time.perf_counter() - start)
    return count / statistics.median(seconds)


def compare(
    net: Supernet, costs: Costs, arch: Architecture, shape: tuple[int, ...]
) -> dict[str, object] | None:
    """The costs of one architecture beside those counted on it; None when they are equal."""
    alone = net.extract(arch).eval()
    # Attention as plain products: the counter of PyTorch 2.11 does not know the kernel for it on a CPU.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
        alone(torch.zeros(shape))
    stored = alone.state_dict().values()
    counted = (
        flops.get_total_flops() // 2,
        sum(parameter.numel() for parameter in alone.parameters()),
        sum(tensor.numel() * tensor.element_size() for tensor in stored),
    )
    cost = costs.of(arch)
    ours = (cost.macs, cost.params, cost.weight_bytes)
    return None if ours == counted else {"architecture": arch.id, "ours": ours, "counted": counted}


if __name__ == "__main__":
    main()
