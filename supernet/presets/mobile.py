"""A small MobileNetV3-style supernet for images of 8 to 64 px, made of timm's own blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from math import log2
from typing import Any

import torch
from timm.layers import make_divisible
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from supernet.elastic.plan import Plan
from supernet.elastic.supernet import Supernet
from supernet.errors import SpaceError
from supernet.presets.preset import origin, presets
from supernet.presets.wiring import Wiring
from supernet.seeds import derive
from supernet.space import Architecture, Choice, SearchSpace


@presets.register("mobile")
@dataclass(frozen=True)
class Mobile:
    """Stages of inverted residuals: a depth per stage, a kernel size and an expand ratio per block.

    The space is that of Once-for-all (arXiv:1908.09791) on a smaller network: the squeeze-and-excitation
    of the later stages follows the width it gates, and kernels are plain centre crops.

    Args:
        classes: of the classifier.
        channels: of the images.
        resolution: their side in pixels; the network halves it until about 4 px are left.
        widths: channels of the stem and of each stage.
        kernels: depth-wise kernel sizes.
        expands: ratios of a block's hidden width to its input.
        depths: blocks per stage.
        features: width of the layer before the classifier.
        seed: of the initial weights.

    Raises:
        SpaceError: when a list is empty, unsorted or holds what no network has.
    """

    classes: int = 10
    channels: int = 1
    resolution: int = 16
    widths: tuple[int, ...] = (16, 24, 40, 48)
    kernels: tuple[int, ...] = (3, 5)
    expands: tuple[float, ...] = (2, 3, 4)
    depths: tuple[int, ...] = (1, 2, 3)
    features: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.widths) < 2:
            raise SpaceError(f"widths is {self.widths}; give the stem's and that of at least one stage")
        for name in ("kernels", "expands", "depths", "widths"):
            values = getattr(self, name)
            if not values or min(values) <= 0:
                raise SpaceError(f"{name} is {values}; give at least one, all above zero")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise SpaceError(f"kernels is {self.kernels}; only odd sizes keep their centre")

    @property
    def halvings(self) -> tuple[bool, ...]:
        """Whether the stem and each stage halve the resolution: the stages first, the stem last."""
        wanted = max(0, round(log2(self.resolution / 4)))
        stages = len(self.widths) - 1
        return (wanted > stages - 1, *(i < wanted for i in range(stages - 1)), wanted > stages)

    @cached_property
    def space(self) -> SearchSpace:
        """Depth per stage; kernel and expand ratio per block, which matter when the block is there."""
        choices: list[Choice] = []
        for stage in range(len(self.widths) - 1):
            depth = f"stages.{stage}.depth"
            choices.append(Choice(depth, self.depths))
            for block in range(self.depths[-1]):
                deep = tuple(count for count in self.depths if count > block)
                needs = (depth, deep) if deep != self.depths else None
                choices.append(Choice(f"stages.{stage}.{block}.kernel", self.kernels, needs))
                choices.append(Choice(f"stages.{stage}.{block}.expand", self.expands, needs))
        return SearchSpace(tuple(choices))

    def supernet(self) -> Supernet:
        """The supernet, freshly initialised from the seed."""
        with torch.random.fork_rng():
            torch.manual_seed(derive(self.seed, "weights"))
            largest = self.network()
        return Supernet(largest, self._plan(largest), origin=origin(self))

    def network(self) -> MobileNetV3:
        """The largest network, as timm builds it."""
        stem, *widths = self.widths
        definition = [
            [
                f"ir_r{self.depths[-1]}_k{max(self.kernels)}_s{1 + halves}_e{self.expands[-1]}_c{width}"
                + ("_se0.25" if stage else "")
            ]
            for stage, (width, halves) in enumerate(zip(widths, self.halvings[1:]))
        ]
        network = MobileNetV3(
            decode_arch_def(definition),
            num_classes=self.classes,
            in_chans=self.channels,
            stem_size=stem,
            fix_stem=True,
            num_features=self.features,
            act_layer=nn.Hardswish,
        )
        if not self.halvings[0]:
            network.conv_stem.stride = (1, 1)
        return network

    def _blocks(self) -> Iterator[tuple[int, int]]:
        for stage in range(len(self.widths) - 1):
            yield from ((stage, block) for block in range(self.depths[-1]))

    def _plan(self, largest: nn.Module) -> Plan:
        wiring = Wiring(largest, self.space)
        for stage, block in self._blocks():
            path, name = f"blocks.{stage}.{block}", f"stages.{stage}.{block}"
            into = largest.get_submodule(f"{path}.conv_pw").in_channels
            hidden = partial(lambda channels, expand: int(make_divisible(channels * expand, 8)), into)
            width = wiring.dim(f"{name}.hidden", [f"{name}.expand"], hidden, "hidden")
            kernel = wiring.dim(f"{name}.kernel", [f"{name}.kernel"], int, "kernel")
            wiring.layer(f"{path}.conv_pw", width)
            wiring.norm(f"{path}.bn1", width)
            wiring.depthwise(f"{path}.conv_dw", width, kernel)
            wiring.norm(f"{path}.bn2", width)
            if hasattr(largest.get_submodule(f"{path}.se"), "conv_reduce"):
                wiring.squeeze(f"{path}.se", width, lambda wide: wide // 4)
            wiring.layer(f"{path}.conv_pwl", None, width)
            if block >= self.depths[0]:
                wiring.switch(path, f"{name}.present", [f"stages.{stage}.depth"], partial(int.__lt__, block))
        return wiring.plan()

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """The architecture of these values; this preset is its own reference.

        Raises:
            ArchitectureError: for a missing choice, an unknown one or a value outside it.
        """
        return self.space.encode(config)

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """The values of an architecture by the names of its choices."""
        return dict(self.space.decode(arch))
