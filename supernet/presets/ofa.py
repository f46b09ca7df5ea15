"""Once-for-all supernets of inverted residuals (Cai et al., arXiv:1908.09791): MobileNetV3 and Proxyless.

Per block a kernel size and an expand ratio, per stage a depth. Small kernels are the centre of the
stored one sent through learned matrices, shared by all channels of a layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from math import sqrt
from typing import Any, Literal

import torch
from timm.layers import make_divisible
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from supernet.elastic.plan import Plan
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import PlannedPreset, asked, from_count, need_blocks, presets
from supernet.space import Architecture, Choice, SearchSpace

LAYERS = {
    "inverted_bottleneck.conv": "conv_pw",
    "inverted_bottleneck.bn": "bn1",
    "depth_conv.conv": "conv_dw",
    "depth_conv.bn": "bn2",
    "depth_conv.se.fc.reduce": "se.conv_reduce",
    "depth_conv.se.fc.expand": "se.conv_expand",
    "point_linear.conv": "conv_pwl",
    "point_linear.bn": "bn3",
}
FIRST_BLOCK = {
    "depth_conv.conv": "conv_dw",
    "depth_conv.bn": "bn1",
    "point_linear.conv": "conv_pw",
    "point_linear.bn": "bn2",
}
ENDS = {
    "first_conv.conv": "conv_stem",
    "first_conv.bn": "bn1",
    "feature_mix_layer.conv": "conv_head",
    "feature_mix_layer.bn": "bn2",
    "classifier.linear": "classifier",
}


@dataclass(frozen=True)
class Stage:
    """A run of blocks of one output width."""

    channels: int
    stride: int
    blocks: tuple[int, ...]
    """How many blocks it may have; one value when that is no choice."""


@dataclass(frozen=True)
class _Mobile(PlannedPreset):
    """What the two spaces share; the reference calls a block by its position over all stages.

    Args:
        width: multiplier of every channel count.
        kernels: depth-wise kernel sizes.
        expands: ratios of a block's hidden width to its input.
        depths: blocks per stage.
        classes: of the classifier.
        dropout: before the classifier.
    """

    width: float = 1.0
    kernels: tuple[int, ...] = (3, 5, 7)
    expands: tuple[int, ...] = (3, 4, 6)
    depths: tuple[int, ...] = (2, 3, 4)
    classes: int = 1000
    dropout: float = 0.1

    def __post_init__(self) -> None:
        need_blocks("depths", self.depths)

    def _wide(self, channels: int) -> int:
        return int(make_divisible(channels * self.width, 8))

    def _stages(self) -> tuple[Stage, ...]:
        raise NotImplementedError

    def _largest(self) -> nn.Module:
        raise NotImplementedError

    def _blocks(self) -> Iterator[tuple[int, int, Stage]]:
        """Stage, position in it and the stage itself, of every elastic block in order."""
        for i, stage in enumerate(self._stages()):
            yield from ((i, j, stage) for j in range(stage.blocks[-1]))

    @cached_property
    def space(self) -> SearchSpace:
        """Depth per stage; kernel and expand ratio per block, which matter when the block is there."""
        choices: list[Choice] = []
        for i, j, stage in self._blocks():
            if j == 0 and len(stage.blocks) > 1:
                choices.append(Choice(f"stages.{i}.depth", stage.blocks))
            needs = from_count(f"stages.{i}.depth", stage.blocks, j)
            choices.append(Choice(f"stages.{i}.{j}.kernel", self.kernels, needs))
            choices.append(Choice(f"stages.{i}.{j}.expand", self.expands, needs))
        return SearchSpace(tuple(choices))

    def network(self) -> nn.Module:
        """The largest network, initialised as the reference does (normal by fan-out, identity matrices)."""
        largest = self._largest()
        sizes = sorted(self.kernels, reverse=True)
        for i, j, _ in self._blocks():
            conv = largest.get_submodule(f"blocks.{i + 1}.{j}.conv_dw")
            for large, small in pairwise(sizes):
                matrix = nn.Parameter(torch.eye(small * small))
                conv.register_parameter(f"transform_{large}to{small}", matrix)
        initialise(largest)
        return largest

    def plan(self, network: nn.Module) -> Plan:
        """Kernels through matrices, hidden widths with their gates, blocks that may be left out."""
        wiring = PlanBuilder(network, self.space)
        sizes = sorted(self.kernels, reverse=True)
        transforms = [(small, f"transform_{large}to{small}") for large, small in pairwise(sizes)]
        for i, j, stage in self._blocks():
            path, name = f"blocks.{i + 1}.{j}", f"stages.{i}.{j}"
            into = network.get_submodule(f"{path}.conv_pw").in_channels
            hidden = partial(lambda c, expand: int(make_divisible(round(c * expand), 8)), into)
            width = wiring.dim(f"{name}.hidden", [f"{name}.expand"], hidden, "hidden")
            kernel = wiring.dim(f"{name}.kernel", [f"{name}.kernel"], int, "kernel")
            wiring.inverted_residual(path, width, kernel, transforms)
            if hasattr(network.get_submodule(f"{path}.se"), "conv_reduce"):
                wiring.squeeze(f"{path}.se", width, lambda wide: int(make_divisible(wide // 4, 8)))
            if j >= stage.blocks[0]:
                wiring.switch(path, f"{name}.present", [f"stages.{i}.depth"], partial(int.__lt__, j))
        return wiring.plan()

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """The architecture of ``{"ks": [...], "e": [...], "d": [...]}``, one entry per block or stage.

        Raises:
            ArchitectureError: for a missing key, a list of another length or a value outside the space.
        """
        blocks, stages = list(self._blocks()), self._stages()
        kernels, expands = asked(config, "ks", len(blocks)), asked(config, "e", len(blocks))
        depths = asked(config, "d", sum(len(stage.blocks) > 1 for stage in stages), len(stages))
        values: dict[str, Any] = {}
        for (i, j, stage), kernel, expand in zip(blocks, kernels, expands):
            if len(stage.blocks) > 1:
                values[f"stages.{i}.depth"] = depths[i]
            if len(stage.blocks) == 1 or j < values[f"stages.{i}.depth"]:
                values |= {f"stages.{i}.{j}.kernel": kernel, f"stages.{i}.{j}.expand": expand}
        return self.space.encode(values)

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """``{"ks", "e", "d"}``; blocks that are left out get the first value."""
        values = self.space.decode(arch)
        blocks = list(self._blocks())
        return {
            "ks": [values.get(f"stages.{i}.{j}.kernel", self.kernels[0]) for i, j, _ in blocks],
            "e": [values.get(f"stages.{i}.{j}.expand", self.expands[0]) for i, j, _ in blocks],
            "d": [values.get(f"stages.{i}.depth", stage.blocks[0]) for i, stage in enumerate(self._stages())],
        }

    def rename(self, name: str) -> str | None:
        """The tensor's name in timm's network; released checkpoints say ``mobile_inverted_conv``."""
        name = name.replace(".mobile_inverted_conv.", ".conv.").replace("linear.linear.", "linear.")
        name = re.sub(r"(\d)to(\d)_matrix$", r"transform_\1to\2", name)
        name = re.sub(r"\.(conv|bn)\.\1\.", r".\1.", name)
        if found := re.fullmatch(r"blocks\.(\d+)\.conv\.(.+)\.(\w+)", name):
            block, layer, tensor = int(found[1]), found[2], found[3]
            if block == 0:
                return f"blocks.0.0.{FIRST_BLOCK.get(layer, layer)}.{tensor}"
            positions = [(i, j) for i, j, _ in self._blocks()]
            i, j = positions[block - 1] if block <= len(positions) else (block, 0)
            return f"blocks.{i + 1}.{j}.{LAYERS.get(layer, layer)}.{tensor}"
        owner, _, tensor = name.rpartition(".")
        return f"{self._ends().get(owner, owner)}.{tensor}"

    def _ends(self) -> dict[str, str]:
        return ENDS


@presets.register("ofa_mobilenetv3")
@dataclass(frozen=True)
class OFAMobileNetV3(_Mobile):
    """Once-for-all MobileNetV3: 7371^5 subnets per resolution, 7.68 M shared parameters at width 1.0.

    Published with ``width=1.0`` and ``width=1.2``.
    """

    def _stages(self) -> tuple[Stage, ...]:
        shapes = zip((24, 40, 80, 112, 160), (2, 2, 2, 1, 2))
        return tuple(Stage(self._wide(channels), stride, self.depths) for channels, stride in shapes)

    def _largest(self) -> nn.Module:
        wide, first = self._wide, self._wide(16)
        kernel, expand = self.kernels[-1], self.expands[-1]
        gates = ("_nre", "_se0.25_nre", "_nhs", "_se0.25_nhs", "_se0.25_nhs")
        stages = [[f"ds_r1_k3_s1_c{first}_nre"]]
        for stage, gate in zip(self._stages(), gates):
            shape = f"k{kernel}_s{stage.stride}_e{expand}_c{stage.channels}"
            stages.append([f"ir_r{stage.blocks[-1]}_{shape}{gate}"])
        stages.append([f"cn_r1_k1_s1_c{wide(960)}_nhs"])
        network: nn.Module = MobileNetV3(
            decode_arch_def(stages),
            num_classes=self.classes,
            in_chans=self.channels,
            stem_size=wide(16),
            num_features=wide(1280),
            head_bias=False,
            act_layer=nn.Hardswish,
            norm_layer=partial(nn.BatchNorm2d, eps=1e-5, momentum=0.1),
            se_layer=partial(
                SqueezeExcite, gate_layer="hard_sigmoid", force_act_layer=nn.ReLU, rd_round_fn=round_channels
            ),
            drop_rate=self.dropout,
        )
        return network

    def _ends(self) -> dict[str, str]:
        last = f"blocks.{len(self._stages()) + 1}.0"
        return super()._ends() | {
            "final_expand_layer.conv": f"{last}.conv",
            "final_expand_layer.bn": f"{last}.bn1",
        }


@presets.register("ofa_proxyless")
@dataclass(frozen=True)
class OFAProxyless(_Mobile):
    """Once-for-all over ProxylessNAS' widths: 9 * 7371^5 subnets per resolution, 5.12 M shared parameters."""

    def _stages(self) -> tuple[Stage, ...]:
        shapes = zip((24, 40, 80, 96, 192, 320), (2, 2, 2, 1, 2, 1))
        return tuple(
            Stage(self._wide(channels), stride, (1,) if channels == 320 else self.depths)
            for channels, stride in shapes
        )

    def _largest(self) -> nn.Module:
        kernel, expand = self.kernels[-1], self.expands[-1]
        stages = [[f"ds_r1_k3_s1_c{self._wide(16)}_noskip"]]
        for stage in self._stages():
            shape = f"k{kernel}_s{stage.stride}_e{expand}_c{stage.channels}"
            skip = "_noskip" if stage.blocks == (1,) else ""
            stages.append([f"ir_r{stage.blocks[-1]}_{shape}{skip}"])
        network: nn.Module = EfficientNet(
            decode_arch_def(stages),
            num_classes=self.classes,
            in_chans=self.channels,
            stem_size=self._wide(32),
            num_features=self._wide(1280),
            act_layer=nn.ReLU6,
            norm_layer=partial(nn.BatchNorm2d, eps=1e-3, momentum=0.1),
            drop_rate=self.dropout,
        )
        return network


@torch.no_grad()
def initialise(network: nn.Module, *, linear: Literal["in", "out"] = "in", per_group: bool = False) -> None:
    """Once-for-all's start: convolutions normal by their fan-out, linear layers uniform, biases 0.

    Args:
        linear: which fan of a linear layer bounds its weights, to one over its square root.
        per_group: whether the fan-out of a depth-wise convolution counts one channel, as in TensorFlow,
            instead of all.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0, sqrt(2 / (fan_out // module.groups if per_group else fan_out)))
        elif isinstance(module, nn.Linear):
            bound = 1 / sqrt(module.in_features if linear == "in" else module.out_features)
            nn.init.uniform_(module.weight, -bound, bound)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
