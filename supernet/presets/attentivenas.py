"""AttentiveNAS' supernet (Wang et al., arXiv:2011.09011), a space in the manner of BigNAS (arXiv:2003.11142).

Everything is chosen per stage, the widths of the residuals and the input resolution included. Every
block has a shortcut: pooled where the block strides, with a 1x1 convolution where the width changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from timm.layers import make_divisible
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.mobilenetv3 import MobileNetV3
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.elastic.plan import Plan, SizeAttribute
from supernet.presets.ofa import FIRST_BLOCK, LAYERS, initialise
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import PlannedPreset, asked, need_blocks, presets
from supernet.space import Architecture, Choice, SearchSpace


class Resize(nn.Module):
    """Brings square images to the architecture's resolution, bicubic, when they are not there already."""

    size: int

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        # Its first axis is cut like any width, and `size` follows it; it holds no bytes.
        self.register_buffer("layout", torch.empty(size, 0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``(batch, channels, size, size)``, resized where they have another size."""
        if x.shape[-1] == self.size:
            return x
        return F.interpolate(x, size=self.size, mode="bicubic")


class PooledShortcut(nn.Module):
    """The input, pooled by the block's stride and projected to its width."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(into, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pooled to the stride, then another width."""
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride, padding=x.shape[-1] % 2)
        out: Tensor = self.conv(x)
        return out


class ShortcutBlock(nn.Module):
    """A timm block without a skip of its own, beside a shortcut."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """The body's answer and the shortcut's, added."""
        out: Tensor = self.body(x) + self.shortcut(x)
        return out


@dataclass(frozen=True)
class Stage:
    """What one stage may be; a single value is no choice."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    kernels: tuple[int, ...]
    expands: tuple[int, ...]
    stride: int
    squeeze: bool


STAGES = (
    Stage((16, 24), (1, 2), (3, 5), (1,), 1, False),
    Stage((24, 32), (3, 4, 5), (3, 5), (4, 5, 6), 2, False),
    Stage((32, 40), (3, 4, 5, 6), (3, 5), (4, 5, 6), 2, True),
    Stage((64, 72), (3, 4, 5, 6), (3, 5), (4, 5, 6), 2, False),
    Stage((112, 120, 128), (3, 4, 5, 6, 7, 8), (3, 5), (4, 5, 6), 1, True),
    Stage((192, 200, 208, 216), (3, 4, 5, 6, 7, 8), (3, 5), (6,), 2, True),
    Stage((216, 224), (1, 2), (3, 5), (6,), 1, True),
)
REFERENCE = {"width": "width", "depth": "depth", "kernel_size": "kernel", "expand_ratio": "expand"}


@presets.register("bignas")
@presets.register("attentivenas")
@dataclass(frozen=True)
class AttentiveNAS(PlannedPreset):
    """The AttentiveNAS space: 4.4e11 subnets, resolutions included.

    Statistics of the batch norms do not move while it trains (momentum 0): calibrate each subnet.

    Args:
        resolutions: what the network resizes square images to.
        classes: of the classifier.
        dropout: before the classifier.
        stem: widths of the first convolution.
        stages: of inverted residuals, each with its widths, depths, kernels and expand ratios.
        head: widths of the layer before the classifier.
    """

    resolutions: tuple[int, ...] = (192, 224, 256, 288)
    classes: int = 1000
    dropout: float = 0.2
    stem: tuple[int, ...] = (16, 24)
    stages: tuple[Stage, ...] = STAGES
    head: tuple[int, ...] = (1792, 1984)

    def __post_init__(self) -> None:
        for i, stage in enumerate(self.stages):
            need_blocks(f"depths of stages[{i}]", stage.depths)

    @cached_property
    def space(self) -> SearchSpace:
        """Resolution, widths of stem and head; per stage a width, depth, kernel and expand ratio."""
        choices = [Choice("resolution", self.resolutions), Choice("stem.width", self.stem)]
        for i, stage in enumerate(self.stages):
            choices.append(Choice(f"stages.{i}.width", stage.widths))
            choices.append(Choice(f"stages.{i}.depth", stage.depths))
            choices.append(Choice(f"stages.{i}.kernel", stage.kernels))
            if len(stage.expands) > 1:
                choices.append(Choice(f"stages.{i}.expand", stage.expands))
        return SearchSpace((*choices, Choice("head.width", self.head)))

    def network(self) -> nn.Module:
        """The largest network; blocks start as their shortcuts, with 0 in their last batch norm."""
        largest = self._largest()
        initialise(largest)
        for module in largest.modules():
            if isinstance(module, ShortcutBlock):
                last = module.body.bn3 if hasattr(module.body, "bn3") else module.body.bn2
                assert isinstance(last, nn.BatchNorm2d)
                nn.init.zeros_(last.weight)
        return largest

    def _largest(self) -> nn.Module:
        definition = []
        for stage in self.stages:
            shape = f"r{stage.depths[-1]}_k{stage.kernels[-1]}_s{stage.stride}_c{stage.widths[-1]}_noskip"
            gate = "_se0.25" if stage.squeeze else ""
            expand = f"ir_e{stage.expands[-1]}_" if stage.expands != (1,) else "ds_"
            definition.append([f"{expand}{shape}{gate}"])
        last = self.stages[-1].widths[-1]
        network: nn.Module = MobileNetV3(
            decode_arch_def([*definition, [f"cn_r1_k1_s1_c{6 * last}"]]),
            num_classes=self.classes,
            in_chans=self.channels,
            stem_size=self.stem[-1],
            num_features=self.head[-1],
            head_bias=False,
            act_layer=nn.SiLU,
            norm_layer=partial(nn.BatchNorm2d, eps=1e-5, momentum=0.0),
            se_layer=partial(
                SqueezeExcite, gate_layer="hard_sigmoid", force_act_layer=nn.ReLU, rd_round_fn=round_channels
            ),
            drop_rate=self.dropout,
        )
        stem = nn.Sequential()
        stem.add_module("resize", Resize(self.resolutions[-1]))
        stem.add_module("conv", network.get_submodule("conv_stem"))
        network.conv_stem = stem
        into = self.stem[-1]
        for i, stage in enumerate(self.stages):
            blocks = network.get_submodule(f"blocks.{i}")
            assert isinstance(blocks, nn.Sequential)
            for j, body in enumerate(blocks):
                shortcut = nn.Identity() if j else PooledShortcut(into, stage.widths[-1], stage.stride)
                blocks[j] = ShortcutBlock(body, shortcut)
            into = stage.widths[-1]
        return network

    def _blocks(self) -> Iterator[tuple[int, int, Stage]]:
        for i, stage in enumerate(self.stages):
            yield from ((i, j, stage) for j in range(stage.depths[-1]))

    def plan(self, network: nn.Module) -> Plan:
        """Widths, kernels, the resolution, and the blocks and projections that may be left out."""
        wiring = PlanBuilder(network, self.space)
        for name in ("resolution", "stem.width", *(f"stages.{i}.width" for i in range(len(self.stages)))):
            # A shortcut without projection ties neighbouring widths, so their channels keep their order.
            wiring.dim(name, [name], int, "tied" if name != "resolution" else "resolution")
        wiring.tensor("conv_stem.resize.layout", "resolution", None)
        full = self.resolutions[-1]
        wiring.size_attributes.append(
            SizeAttribute("conv_stem.resize", "size", None, "layout", 0, full, full, 1, 1)
        )
        wiring.layer("conv_stem.conv", "stem.width")
        wiring.norm("bn1", "stem.width")
        for i, j, stage in self._blocks():
            self._block(wiring, i, j, stage)
        last = f"stages.{len(self.stages) - 1}.width"
        expand = f"blocks.{len(self.stages)}.0"
        wiring.dim("head.hidden", [last], lambda width: 6 * width, "hidden")
        wiring.layer(f"{expand}.conv", "head.hidden", last)
        wiring.norm(f"{expand}.bn1", "head.hidden")
        wiring.dim("head.width", ["head.width"], int, "hidden")
        wiring.layer("conv_head", "head.width", "head.hidden")
        wiring.layer("classifier", None, "head.width")
        return wiring.plan()

    def _block(self, wiring: PlanBuilder, i: int, j: int, stage: Stage) -> None:
        path, name, width = f"blocks.{i}.{j}", f"stages.{i}", f"stages.{i}.width"
        before = width if j else f"stages.{i - 1}.width" if i else "stem.width"
        if j == 0:
            wiring.dim(f"{name}.kernel", [f"{name}.kernel"], int, "kernel")
            wiring.layer(f"{path}.shortcut.conv", width, before)
            wiring.switch(f"{path}.shortcut.conv", f"{name}.project", [before, width], int.__ne__)
        if stage.expands == (1,):
            wiring.depthwise(f"{path}.body.conv_dw", before, f"{name}.kernel")
            wiring.norm(f"{path}.body.bn1", before)
            wiring.layer(f"{path}.body.conv_pw", width, before)
            wiring.norm(f"{path}.body.bn2", width)
        else:
            self._expanded(wiring, path, before, width, f"{name}.{j}.hidden", stage)
        if j >= stage.depths[0]:
            wiring.switch(path, f"{name}.{j}.present", [f"{name}.depth"], partial(int.__lt__, j))

    def _expanded(
        self, wiring: PlanBuilder, path: str, before: str, width: str, hidden: str, stage: Stage
    ) -> None:
        name = width.removesuffix(".width")
        by = [before, f"{name}.expand"] if len(stage.expands) > 1 else [before]
        fixed = stage.expands[-1]
        wiring.dim(hidden, by, lambda c, e=fixed: int(make_divisible(round(c * e), 8)), "hidden")
        wiring.layer(f"{path}.body.conv_pw", hidden, before)
        wiring.norm(f"{path}.body.bn1", hidden)
        wiring.depthwise(f"{path}.body.conv_dw", hidden, f"{name}.kernel")
        wiring.norm(f"{path}.body.bn2", hidden)
        if stage.squeeze:
            wiring.squeeze(f"{path}.body.se", hidden, lambda wide: int(make_divisible(wide // 4, 8)))
        wiring.layer(f"{path}.body.conv_pwl", width, hidden)
        wiring.norm(f"{path}.body.bn3", width)

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """The architecture of ``{"resolution", "width", "depth", "kernel_size", "expand_ratio"}``.

        ``width`` holds the stem, the stages and the head; the other lists one value per stage.

        Raises:
            ArchitectureError: for a missing key, a list of another length or a value outside the space.
        """
        width = asked(config, "width", len(self.stages) + 2)
        values = {"resolution": asked(config, "resolution"), "stem.width": width[0], "head.width": width[-1]}
        for key, ours in REFERENCE.items():
            entries = width[1:-1] if key == "width" else asked(config, key, len(self.stages))
            for i, value in enumerate(entries):
                if f"stages.{i}.{ours}" in self._names:
                    values[f"stages.{i}.{ours}"] = value
        return self.space.encode(values)

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """``{"resolution", "width", "depth", "kernel_size", "expand_ratio"}``."""
        values = self.space.decode(arch)
        config: dict[str, Any] = {"resolution": values["resolution"]}
        for key, ours in REFERENCE.items():
            config[key] = [
                values.get(f"stages.{i}.{ours}", stage.expands[-1]) for i, stage in enumerate(self.stages)
            ]
        config["width"] = [values["stem.width"], *config["width"], values["head.width"]]
        return config

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(choice.name for choice in self.space.choices)

    def rename(self, name: str) -> str | None:
        """The tensor's name in timm's network; the reference owns shortcut convolutions it never runs."""
        if "bn_tracking" in name:
            return None
        name = re.sub(r"\.(conv|bn|linear)\.\1\.", r".\1.", name)
        if found := re.fullmatch(r"blocks\.(\d+)\.(mobile_inverted_conv|shortcut)\.(.+)\.(\w+)", name):
            blocks = list(self._blocks())
            i, j, stage = (
                blocks[int(found[1])] if int(found[1]) < len(blocks) else (len(blocks), 0, self.stages[0])
            )
            if found[2] == "shortcut":
                return f"blocks.{i}.{j}.shortcut.{found[3]}.{found[4]}" if j == 0 else None
            layers = FIRST_BLOCK if stage.expands == (1,) else LAYERS
            return f"blocks.{i}.{j}.body.{layers.get(found[3], found[3])}.{found[4]}"
        ends = {
            "first_conv.conv": "conv_stem.conv",
            "first_conv.bn": "bn1",
            "last_conv.final_expand_layer.conv": f"blocks.{len(self.stages)}.0.conv",
            "last_conv.final_expand_layer.bn": f"blocks.{len(self.stages)}.0.bn1",
            "last_conv.feature_mix_layer.conv": "conv_head",
            "classifier.linear": "classifier",
        }
        owner, _, tensor = name.rpartition(".")
        return f"{ends.get(owner, owner)}.{tensor}"
