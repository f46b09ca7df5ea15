"""MixPath S1 (Chu et al., arXiv:2001.05887): inverted bottlenecks with one to four kernels at a time, summed.

The sum of several paths has other statistics than one path, so the batch norm after it is chosen by
how many there are (a *shadow* batch norm).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any

from torch import Tensor, nn

from supernet.elastic.plan import Plan
from supernet.errors import ArchitectureError
from supernet.presets.candidates import OneOf, Sum
from supernet.presets.ofa import initialise
from supernet.presets.preset import Built, presets
from supernet.presets.wiring import Wiring
from supernet.space import Architecture, Choice, SearchSpace

CHANNELS = (32, 48, 48, 96, 96, 96, 192, 192, 192, 256, 256, 320, 320)
STRIDED = (2, 5)


class MixedBottleneck(nn.Module):
    """Expand, the sum of depth-wise paths, project; all of it once per expand ratio."""

    def __init__(
        self, into: int, out: int, stride: int, expands: tuple[int, ...], kernels: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.has_skip = stride == 1 and into == out
        self.rates = OneOf(*(rate(into, into * expand, out, stride, kernels) for expand in expands))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.rates(x)
        return out + x if self.has_skip else out


def rate(into: int, wide: int, out: int, stride: int, kernels: tuple[int, ...]) -> nn.Sequential:
    """What one expand ratio owns; the paths are its second part, the shadow batch norms its last."""
    return nn.Sequential(
        unit(nn.Conv2d(into, wide, 1, bias=False)),
        Sum(*(unit(depthwise(wide, kernel, stride)) for kernel in kernels)),
        nn.Conv2d(wide, out, 1, bias=False),
        OneOf(*(nn.BatchNorm2d(out) for _ in kernels)),
    )


def depthwise(channels: int, kernel: int, stride: int) -> nn.Conv2d:
    """A depth-wise convolution without bias."""
    return nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)


def unit(conv: nn.Conv2d) -> nn.Sequential:
    """A convolution, a batch norm and ReLU6."""
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU6(inplace=True))


@presets.register("mixpath")
@dataclass(frozen=True)
class MixPath(Built):
    """Space S1, for CIFAR: twelve blocks, (2 * 15)^12 = 5.3e17 subnets with up to four paths.

    Args:
        kernels: of the paths.
        expands: ratios of a block's hidden width to its input.
        most: how many paths may be active at once.
        classes: of the classifier.
        resolution: of the images.
    """

    kernels: tuple[int, ...] = (3, 5, 7, 9)
    expands: tuple[int, ...] = (3, 6)
    most: int = 4
    classes: int = 10
    resolution: int = 32

    @cached_property
    def paths(self) -> dict[str, tuple[int, ...]]:
        """Which kernels are summed, by name (``"3+7"``), from the cheapest to the dearest."""
        subsets = [c for m in range(1, self.most + 1) for c in combinations(self.kernels, m)]
        subsets.sort(key=lambda subset: sum(kernel * kernel for kernel in subset))
        return {"+".join(map(str, subset)): subset for subset in subsets}

    @cached_property
    def space(self) -> SearchSpace:
        """Per block an expand ratio and a set of paths."""
        choices = []
        for i in range(len(CHANNELS) - 1):
            choices.append(Choice(f"blocks.{i}.expand", self.expands))
            choices.append(Choice(f"blocks.{i}.paths", tuple(self.paths)))
        return SearchSpace(tuple(choices))

    def network(self) -> nn.Module:
        """The largest network, freshly initialised: convolutions normal by their fan-out."""
        blocks = [
            MixedBottleneck(into, out, 2 if i in STRIDED else 1, self.expands, self.kernels)
            for i, (into, out) in enumerate(pairwise(CHANNELS))
        ]
        network = nn.Sequential()
        network.add_module("stem", unit(nn.Conv2d(self.channels, CHANNELS[0], 3, padding=1, bias=False)))
        network.add_module("blocks", nn.Sequential(*blocks))
        network.add_module("last_conv", unit(nn.Conv2d(CHANNELS[-1], 1280, 1, bias=False)))
        network.add_module("global_pooling", nn.AdaptiveAvgPool2d(1))
        network.add_module("flatten", nn.Flatten())
        network.add_module("classifier", nn.Linear(1280, self.classes))
        initialise(network)
        return network

    def plan(self, network: nn.Module) -> Plan:
        """One expand ratio per block and the paths that are summed."""
        wiring = Wiring(network, self.space)
        for i in range(len(CHANNELS) - 1):
            self._wire(wiring, f"blocks.{i}")
        return wiring.plan()

    def _wire(self, wiring: Wiring, path: str) -> None:
        wiring.one_of(f"{path}.rates", f"{path}.expand", self.expands)
        for t in range(len(self.expands)):
            for k, kernel in enumerate(self.kernels):
                conv, norm = f"{path}.rates.{t}.1.{k}", f"{path}.rates.{t}.3.{k}"
                wiring.switch(
                    conv,
                    f"{conv}.present",
                    [f"{path}.paths"],
                    lambda name, own=kernel: own in self.paths[name],
                )
                wiring.switch(
                    norm,
                    f"{norm}.present",
                    [f"{path}.paths"],
                    lambda name, m=k + 1: len(self.paths[name]) == m,
                )

    def from_reference(self, config: Mapping[Any, Any]) -> Architecture:
        """The architecture of ``{0: {"conv": [positions in kernels], "rate": position in expands}, ...}``.

        Raises:
            ArchitectureError: for a missing block or a position outside the space.
        """
        values: dict[str, Any] = {}
        for i in range(len(CHANNELS) - 1):
            block = config.get(i, config.get(str(i)))
            if block is None:
                raise ArchitectureError(
                    f"block {i} is missing; the space has {len(CHANNELS) - 1}, counted from 0"
                )
            positions = sorted(set(block["conv"]))
            if (
                not positions
                or positions[-1] >= len(self.kernels)
                or block["rate"] not in range(len(self.expands))
            ):
                raise ArchitectureError(
                    f"block {i} is {block}; 'conv' can hold 0 to {len(self.kernels) - 1}, "
                    f"'rate' be 0 to {len(self.expands) - 1}"
                )
            values[f"blocks.{i}.paths"] = "+".join(str(self.kernels[position]) for position in positions)
            values[f"blocks.{i}.expand"] = self.expands[block["rate"]]
        return self.space.encode(values)

    def to_reference(self, arch: Architecture) -> dict[Any, Any]:
        """``{0: {"conv": [...], "rate": ...}, ...}``."""
        values = self.space.decode(arch)
        return {
            i: {
                "conv": [self.kernels.index(k) for k in self.paths[str(values[f"blocks.{i}.paths"])]],
                "rate": self.expands.index(int(values[f"blocks.{i}.expand"])),
            }
            for i in range(len(CHANNELS) - 1)
        }
