"""What the approximate ways to train keep, what they cost, how far their gradients are off, and what is learnt so.

    python -m benchmarks.memory_approximate [--models A,B] [--steps N] [--repeats N] [--json FILE]

Each timm model begins with random weights and first learns digits for some plain steps. From there, per way: the peak
of a step (forward and backward pass) over that of plain, the processor time likewise, in turns; the relative error of
the gradient, its cosine, the share of the gradient whose parameters the way does not train; and the accuracy on the
test split after as many steps again, all from the same weights and on the same batches. ``partial N``: of each layer
that share of the input channels learns (``train.partial_channels``); its gradients are exact, and what is untrained is
the point. ``adapters N``, of vision transformers: reversible adapters and the head learn, and N bits are kept for a
block; ``start`` is the largest difference of the first answers from plain ones, over the largest of these.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.contract import Result, arguments
from benchmarks.memory_peaks import cpu_seconds, peak_bytes
from supernet.data import ImageDataset
from supernet.elastic.skeleton import bind
from supernet.elastic.slicing import Slices
from supernet.memory.approximation import approximation
from supernet.memory.few_bit import few_bit_calls
from supernet.memory.inside import Replaced, run_inside
from supernet.memory.modes import modes
from supernet.options import DataOptions
from supernet.partial_channels import PartialChannels
from supernet.reversible.adapters import reversible_adapters
from supernet.sources import load_data

MODELS = "mobilenetv3_small_050,vit_tiny_patch16_224"
Way = Callable[[nn.Module], PartialChannels | None]
"""Lets a bound copy of a network run in some way; answers with the channels that learn, where not all do."""


def main() -> None:
    """Run the benchmark."""
    parser = arguments("memory_approximate", __doc__.partition("\n")[0])
    parser.add_argument("--models", default=MODELS, help="timm models, separated by commas")
    parser.add_argument("--resolution", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument(
        "--steps", type=int, default=20, help="that the plain network learns before, and each way after"
    )
    parser.add_argument("--repeats", type=int, default=3, help="turns of which the quickest counts")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.quick:
        args.models, args.steps, args.repeats, args.resolution, args.batch = (
            "mobilenetv3_small_050",
            2,
            1,
            32,
            8,
        )
    result = Result("memory_approximate", vars(args))
    found = load_data(DataOptions(resolution=args.resolution, channels=3))
    assert isinstance(found, ImageDataset)
    for name in args.models.split(","):
        network = made(name, args)
        learn(network, None, found, args, first=0)
        for row in [*rows(network, found, args), *adapted_rows(network, found, args)]:
            result.rows.append({"model": name, **row})
            for key in sorted({"memory", "time", "error"} & row.keys()):
                result.figures[f"{name}.{row['way']}.{key}"] = row[key]
    result.finish(args.json)


def ways() -> dict[str, Way]:
    """Every way, by name; plain first."""
    found: dict[str, Way] = {name: modes[name] for name in ("plain", "int8", "relu_backward", "shift_only")}
    for bits in (2, 3, 4):
        found[f"few_bit {bits}"] = partial(few_bits, bits)
    for share in (0.25, 0.125):
        found[f"partial {share}"] = partial(partly, share)
    return found


_CALLS = {bits: partial(lambda bits, module: Replaced(few_bit_calls(bits)), bits) for bits in (2, 3, 4)}


def few_bits(bits: int, network: nn.Module) -> None:
    """Few-bit derivatives of so many bits."""
    run_inside(network, _CALLS[bits])


def partly(share: float, network: nn.Module) -> PartialChannels:
    """A share of the input channels of every layer learns."""
    found = PartialChannels(network, share)
    found.install(network)
    return found


def rows(network: nn.Module, data: ImageDataset, args: Any) -> list[dict[str, Any]]:
    """One for each way."""
    x, labels = data.batch(args.steps, args.batch, args.seed)
    every = ways()
    runs = {way: running(network, install) for way, install in every.items()}
    losses = {way: partial(loss_of, run, x, labels) for way, (run, _) in runs.items()}
    steps = {way: partial(step, network, loss) for way, loss in losses.items()}
    seconds = cpu_seconds(steps, args.repeats)
    peaks = {way: peak_bytes(one) for way, one in steps.items()}
    found = []
    for way, install in every.items():
        off = approximation(network, losses["plain"], losses[way])
        exact = runs[way][1] is not None  # then all that differs is what does not learn
        found.append(
            {
                "way": way,
                "memory": peaks[way] / peaks["plain"],
                "time": seconds[way] / seconds["plain"],
                **({} if exact else {"error": off.error, "cosine": off.cosine}),
                "untrained": off.error if exact else off.untrained,
                "accuracy": taught(copied(network, install), data, args),
                "plain_mib": peaks["plain"] / 2**20,
            }
        )
    return found


def adapted_rows(network: nn.Module, data: ImageDataset, args: Any) -> list[dict[str, Any]]:
    """One for each number of bits that reversible adapters keep; none for what is no vision transformer."""
    if not isinstance(network, timm.models.VisionTransformer):
        return []
    x, labels = data.batch(args.steps, args.batch, args.seed)
    expected = network(x).detach()
    nets = {f"adapters {bits}": reversible_adapters(deepcopy(network), bits=bits) for bits in (16, 8, 0)}
    steps = {way: partial(step, net, partial(loss_of, net, x, labels)) for way, net in nets.items()}
    steps["plain"] = partial(step, network, partial(loss_of, network, x, labels))
    seconds, peaks = cpu_seconds(steps, args.repeats), {way: peak_bytes(one) for way, one in steps.items()}
    return [
        {
            "way": way,
            "memory": peaks[way] / peaks["plain"],
            "time": seconds[way] / seconds["plain"],
            "start": ((net(x) - expected).abs().max() / expected.abs().max()).item(),
            "accuracy": taught((net, None), data, args),
        }
        for way, net in nets.items()
    ]


def made(name: str, args: Any) -> nn.Module:
    """A timm model with ten classes, in training."""
    torch.manual_seed(args.seed)
    size = {"img_size": args.resolution} if "vit" in name else {}
    network: nn.Module = timm.create_model(name, num_classes=10, drop_path_rate=0.0, **size)
    return network.train()


def running(network: nn.Module, install: Way) -> tuple[nn.Module, PartialChannels | None]:
    """A copy that shares the tensors of a network and runs in some way."""
    copy = bind(network, Slices({}, frozenset()), own=True)
    return copy, install(copy)


def loss_of(network: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """On a batch of images ``(batch, 3, side, side)``."""
    return F.cross_entropy(network(x), labels)


def step(network: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Forward and backward pass; the gradients are cleared."""
    loss().backward()  # type: ignore[no-untyped-call]
    network.zero_grad()


def learn(
    network: nn.Module, partly: PartialChannels | None, data: ImageDataset, args: Any, first: int
) -> None:
    """So many steps of AdamW."""
    partly = partly or PartialChannels(network, 0)
    with partly.compact():
        optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.05)
    for i in range(first, first + args.steps):
        loss_of(network, *data.batch(i, args.batch, args.seed)).backward()  # type: ignore[no-untyped-call]
        with partly.compact():
            optimizer.step()
        network.zero_grad()


def copied(network: nn.Module, install: Way) -> tuple[nn.Module, PartialChannels | None]:
    """A network with tensors of its own that runs in some way."""
    copy = deepcopy(network)
    return copy, install(copy)


def taught(running: tuple[nn.Module, PartialChannels | None], data: ImageDataset, args: Any) -> float:
    """Test accuracy in percent after a network has learnt."""
    copy, partly = running
    learn(copy, partly, data, args, first=args.steps)
    copy.eval()
    right = total = 0
    with torch.inference_mode():
        for x, labels in data.batches("test", 64, 400):
            right += int((copy(x).argmax(1) == labels).sum())
            total += len(labels)
    return 100 * right / total


if __name__ == "__main__":
    main()
