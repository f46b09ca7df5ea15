"""Your own network: an elastic supernet of it, what became elastic and what did not, and one subnet cut out.

Any network that `torch.export` traces will do; nothing in it has to know about supernets.
"""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor, nn

from supernet import elasticise


class Block(nn.Module):
    """A residual block, as one writes it."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(channels, hidden, 1)
        self.depthwise = nn.Conv2d(hidden, hidden, 5, padding=2, groups=hidden)
        self.norm = nn.BatchNorm2d(hidden)
        self.narrow = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Images of features in, images of the same shape out."""
        hidden = self.norm(self.depthwise(self.wide(x).relu())).relu()
        return x + self.narrow(hidden)


class OwnNet(nn.Module):
    """A stem, four blocks, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 4, stride=4)
        self.blocks = nn.Sequential(*(Block(32, 96) for _ in range(4)))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, 3, height, width)`` to ``(batch, 10)``."""
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def main() -> None:
    """Convert, look, run, cut out."""
    torch.manual_seed(0)
    net = elasticise(OwnNet().eval(), (1, 3, 32, 32))
    print(net.report())

    rng, costs, images = Random(0), net.costs(), torch.randn(2, 3, 32, 32)
    for arch in (net.space.largest(), net.space.sample(rng), net.space.smallest()):
        inside = net(images, arch)
        subnet = net.extract(arch)
        exact = torch.equal(inside, subnet(images))
        print(f"{arch.id}: {costs.of(arch).macs:>9,} multiply-adds, inside equals cut out: {exact}")

    print(subnet.blocks)


if __name__ == "__main__":
    main()
