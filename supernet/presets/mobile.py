"""A small MobileNetV3-style supernet for images of 8 to 64 px, made of timm's own blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import log2

import torch
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from supernet.elastic.elasticise import elasticise
from supernet.elastic.supernet import Supernet
from supernet.errors import SpaceError
from supernet.presets.preset import OwnReference, origin, presets
from supernet.seeds import derive
from supernet.space import SearchSpace


@presets.register("mobile")
@dataclass(frozen=True)
class Mobile(OwnReference):
    """Stages of inverted residuals: a depth per stage, a kernel size and an expand ratio per block.

    The space is that of Once-for-all (arXiv:1908.09791) on a smaller network, and kernels are plain centre
    crops. At the default lists it holds 258^3 = 17 million subnets.

    Args:
        classes: of the classifier.
        channels: of the images.
        resolution: their side in pixels; the network halves it until about 4 px are left.
        widths: channels of the stem and of each stage.
        kernels: depth-wise kernel sizes.
        expands: ratios of a block's hidden width to its input, rounded to multiples of 8 channels.
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
            if name != "widths" and list(values) != sorted(set(values)):
                raise SpaceError(f"{name} is {values}; list each once, from small to large")
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
        """Depth per stage; kernel size and hidden width per block, which matter when the block is there."""
        return self.supernet().space

    def supernet(self) -> Supernet:
        """The supernet, freshly initialised: `elasticise` finds what this network can vary and checks it."""
        fixed = {"conv_stem.width": (self.widths[0],), "conv_head.width": (self.features,)}
        ratios = tuple(expand / self.expands[-1] for expand in self.expands)
        supernet = elasticise(
            self.network().eval(),
            (1, self.channels, self.resolution, self.resolution),
            dims=("hidden", "depth", "kernel"),
            choices={"hidden": ratios, "depth": self.depths, "kernel": self.kernels, **fixed},
        )
        supernet.origin = origin(self)
        return supernet

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
        with torch.random.fork_rng():
            torch.manual_seed(derive(self.seed, "weights"))
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
