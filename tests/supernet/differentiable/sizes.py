"""A tiny network of elastic widths, kernels and depth, each set by a choice of its own."""

from __future__ import annotations

import torch
from torch import nn

from supernet.elastic.supernet import Supernet
from supernet.presets.candidates import Depths
from supernet.presets.plan_builder import PlanBuilder
from supernet.space import Choice, SearchSpace

SPACE = SearchSpace(
    (
        Choice("width", (4, 6, 8)),
        Choice("expand", (8, 12, 16)),
        Choice("kernel", (3, 5)),
        Choice("depth", (1, 3)),
    )
)


def sized(classes: int = 4, channels: int = 3) -> Supernet:
    """A stem of elastic width, and an inverted bottleneck whose kernel and hidden width are elastic."""
    torch.manual_seed(0)
    network = nn.Sequential()
    network.add_module("stem", nn.Conv2d(channels, 8, 3, padding=1))
    network.add_module("bn0", nn.BatchNorm2d(8))
    network.add_module("pw", nn.Conv2d(8, 16, 1, bias=False))
    network.add_module("bn1", nn.BatchNorm2d(16))
    network.add_module("act1", nn.ReLU())
    network.add_module("dw", nn.Conv2d(16, 16, 5, padding=2, groups=16, bias=False))
    network.add_module("bn2", nn.BatchNorm2d(16))
    network.add_module("act2", nn.Hardswish())
    network.add_module("pwl", nn.Conv2d(16, 8, 1, bias=False))
    network.add_module("bn3", nn.BatchNorm2d(8))
    blocks = (nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()) for _ in range(3))
    network.add_module("stage", Depths(*blocks))
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flatten", nn.Flatten())
    network.add_module("classifier", nn.Linear(8, classes))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    wiring = PlanBuilder(network, SPACE)
    wiring.dim("width", ["width"], int, "hidden")
    wiring.dim("hidden", ["expand"], int, "hidden")
    wiring.dim("kernel", ["kernel"], int, "kernel")
    wiring.layer("stem", "width")
    wiring.norm("bn0", "width")
    wiring.layer("pw", "hidden", "width")
    wiring.norm("bn1", "hidden")
    wiring.depthwise("dw", "hidden", "kernel")
    wiring.norm("bn2", "hidden")
    wiring.layer("pwl", None, "hidden")
    for i in (1, 2):
        wiring.switch(f"stage.{i}", f"stage.{i}.present", ["depth"], lambda depth, own=i: depth > own)
    return Supernet(network, wiring.plan())
