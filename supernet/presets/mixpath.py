"""MixPath S1 (Chu et al., arXiv:2001.05887): inverted bottlenecks with one to four kernels at a time, summed.

The sum of several paths has other statistics than one path, so the batch norm after it is chosen by
how many there are (a *shadow* batch norm). So that each of these is trained equally often, an
architecture chooses first how many paths a block has and then which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations, pairwise
from typing import Any

from torch import Tensor, nn

from supernet.elastic.plan import Plan
from supernet.errors import ArchitectureError, SpaceError
from supernet.presets.candidates import OneOf, Sum
from supernet.presets.ofa import initialise
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import PlannedPreset, asked, presets
from supernet.space import Architecture, Choice, SearchSpace, Value

CHANNELS = (32, 48, 48, 96, 96, 96, 192, 192, 192, 256, 256, 320, 320)
STRIDED = (2, 5)
BLOCKS = len(CHANNELS) - 1


class MixedBottleneck(nn.Module):
    """Expand, the sum of depth-wise paths, project; all of it once per expand ratio."""

    def __init__(
        self, into: int, out: int, stride: int, expands: tuple[int, ...], kernels: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.has_skip = stride == 1 and into == out
        self.rates = OneOf(*(rate(into, into * expand, out, stride, kernels) for expand in expands))

    def forward(self, x: Tensor) -> Tensor:
        """The chosen expansion, and the input where shapes allow."""
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
class MixPath(PlannedPreset):
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

    def __post_init__(self) -> None:
        if not 1 <= self.most <= len(self.kernels):
            raise SpaceError(f"most is {self.most}; of these kernels 1 to {len(self.kernels)} can be active")

    @cached_property
    def sets(self) -> dict[int, dict[str, tuple[int, ...]]]:
        """By how many: which kernels may be summed, by name (``"3+7"``), from the cheapest to the dearest."""
        found: dict[int, dict[str, tuple[int, ...]]] = {}
        for count in range(1, self.most + 1):
            sets = sorted(combinations(self.kernels, count), key=lambda own: sum(k * k for k in own))
            found[count] = {"+".join(map(str, own)): own for own in sets}
        return found

    @cached_property
    def space(self) -> SearchSpace:
        """Per block an expand ratio, how many paths, and which."""
        choices = []
        for i in range(BLOCKS):
            choices.append(Choice(f"blocks.{i}.expand", self.expands))
            choices.append(Choice(f"blocks.{i}.paths", tuple(self.sets)))
            for count, sets in self.sets.items():
                needs = (f"blocks.{i}.paths", (count,))
                choices.append(Choice(f"blocks.{i}.paths.{count}", tuple(sets), needs))
        return SearchSpace(tuple(choices))

    def network(self) -> nn.Module:
        """The largest network, freshly initialised by the fan-out of its layers, as the reference does."""
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
        initialise(network, linear="out")
        return network

    def plan(self, network: nn.Module) -> Plan:
        """One expand ratio per block and the paths that are summed."""
        wiring = PlanBuilder(network, self.space)
        for i in range(BLOCKS):
            self._wire(wiring, f"blocks.{i}")
        return wiring.plan()

    def _wire(self, wiring: PlanBuilder, path: str) -> None:
        wiring.one_of(f"{path}.rates", f"{path}.expand", self.expands)
        number = f"{path}.paths"
        which = [number, *(f"{number}.{count}" for count in self.sets)]
        for t in range(len(self.expands)):
            for k, kernel in enumerate(self.kernels):
                conv, norm = f"{path}.rates.{t}.1.{k}", f"{path}.rates.{t}.3.{k}"
                wiring.switch(
                    conv,
                    f"{conv}.present",
                    which,
                    lambda count, *names, own=kernel: own in self.sets[count][names[count - 1]],
                )
                wiring.switch(norm, f"{norm}.present", [number], partial(int.__eq__, k + 1))

    def from_reference(self, config: Mapping[Any, Any]) -> Architecture:
        """The architecture of ``{0: {"conv": [positions in kernels], "rate": position in expands}, ...}``.

        Raises:
            ArchitectureError: for blocks that are missing or too many, a position outside the space, or
                one that is there twice.
        """
        wanted = {str(i) for i in range(BLOCKS)}
        if surplus := [block for block in config if str(block) not in wanted]:
            raise ArchitectureError(
                f"there is no block {surplus[0]!r}; the space has {BLOCKS}, counted from 0"
            )
        values: dict[str, Value] = {}
        for i in range(BLOCKS):
            block = config.get(i, config.get(str(i)))
            if block is None:
                raise ArchitectureError(f"block {i} is missing; the space has {BLOCKS}, counted from 0")
            positions, rate = sorted(asked(block, "conv")), asked(block, "rate")
            if (
                not 1 <= len(positions) <= self.most
                or len(set(positions)) < len(positions)
                or any(position not in range(len(self.kernels)) for position in positions)
                or rate not in range(len(self.expands))
            ):
                raise ArchitectureError(
                    f"block {i} is {dict(block)}; 'conv' can hold 1 to {self.most} different positions, each 0 to "
                    f"{len(self.kernels) - 1}, and 'rate' be 0 to {len(self.expands) - 1}"
                )
            count, name = len(positions), "+".join(str(self.kernels[position]) for position in positions)
            values[f"blocks.{i}.expand"] = self.expands[rate]
            values |= {f"blocks.{i}.paths": count, f"blocks.{i}.paths.{count}": name}
        return self.space.encode(values)

    def to_reference(self, arch: Architecture) -> dict[Any, Any]:
        """``{0: {"conv": [...], "rate": ...}, ...}``."""
        values = self.space.decode(arch)
        config: dict[Any, Any] = {}
        for i in range(BLOCKS):
            count = int(values[f"blocks.{i}.paths"])
            kernels = self.sets[count][str(values[f"blocks.{i}.paths.{count}"])]
            config[i] = {
                "conv": [self.kernels.index(kernel) for kernel in kernels],
                "rate": self.expands.index(int(values[f"blocks.{i}.expand"])),
            }
        return config
