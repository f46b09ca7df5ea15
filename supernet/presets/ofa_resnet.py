"""The once-for-all ResNet50D (Cai et al., arXiv:1908.09791): stage widths, bottleneck widths and depths.

A block's input width is whatever comes before it, so one choice of a stage's width reaches every
tensor that meets the residual.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from timm.layers import make_divisible
from timm.models._efficientnet_blocks import ConvBnAct
from timm.models.resnet import Bottleneck, ResNet
from torch import nn

from supernet.elastic.plan import Plan
from supernet.errors import ArchitectureError, SpaceError
from supernet.presets.ofa import initialise
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import PlannedPreset, asked, from_count, need_blocks, presets
from supernet.space import Architecture, Choice, SearchSpace

STEM = 64


def rounded(channels: float) -> int:
    """The nearest multiple of 8, at most a tenth below."""
    return int(make_divisible(channels, 8))


def _hidden(channels: int, ratio: float) -> int:
    return rounded(round(channels * ratio))


@dataclass(frozen=True)
class _Bottlenecks:
    """Makes timm's bottlenecks with a hidden width of ``ratio`` times the output, not a quarter of it."""

    ratio: float
    expansion: int = Bottleneck.expansion

    def __call__(self, inplanes: int, planes: int, *args: Any, **options: Any) -> nn.Module:
        hidden = _hidden(planes * self.expansion, self.ratio)
        # timm floors planes * base_width / 64; the half keeps a rounding error from costing a channel.
        block: nn.Module = Bottleneck(
            inplanes, planes, *args, **options | {"base_width": 64 * (hidden + 0.5) / planes}
        )
        return block


@presets.register("ofa_resnet50d")
@dataclass(frozen=True)
class OFAResNet50D(PlannedPreset):
    """Once-for-all ResNet50D: 1.64e12 subnets per resolution, 48.1 M shared parameters.

    The paper's 2.459e12 counts two stem widths that round to the same 24 channels twice.

    Args:
        stage_widths: of the largest network.
        base_depths: blocks per stage before the extra ones.
        extra: how many blocks more a stage may have.
        expands: ratios of a bottleneck's hidden width to its output.
        widths: multipliers of the stem's and the stages' widths.
        classes: of the classifier.
        dropout: before the classifier.

    Raises:
        SpaceError: when the first stage is as wide as the stem.
    """

    stage_widths: tuple[int, ...] = (256, 512, 1024, 2048)
    base_depths: tuple[int, ...] = (2, 2, 4, 2)
    extra: tuple[int, ...] = (0, 1, 2)
    expands: tuple[float, ...] = (0.2, 0.25, 0.35)
    widths: tuple[float, ...] = (0.65, 0.8, 1.0)
    classes: int = 1000
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for base in self.base_depths:
            need_blocks("base_depths plus extra", [base + more for more in self.extra])
        if self.stage_widths[0] == STEM:
            raise SpaceError(
                f"the first of stage_widths {self.stage_widths} is the stem's, {STEM}: timm gives such a "
                "stage no projection on its shortcut, and two elastic widths could not meet; choose another"
            )

    @cached_property
    def _channels(self) -> dict[str, list[int]]:
        """Channels of every elastic residual for each multiplier; equal ones are one choice."""
        stem = [rounded(STEM * width) for width in self.widths]
        residuals = {"stem.hidden": [rounded(channels // 2) for channels in stem], "stem.width": stem}
        for i, base in enumerate(self.stage_widths):
            residuals[f"stages.{i}.width"] = [rounded(base * width) for width in self.widths]
        return residuals

    def _blocks(self) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        """Stage, position in it and the depths the stage may have, of every block."""
        for i, base in enumerate(self.base_depths):
            depths = tuple(base + more for more in self.extra)
            yield from ((i, j, depths) for j in range(depths[-1]))

    @cached_property
    def space(self) -> SearchSpace:
        """Stem and stage widths in channels, depth per stage, expand ratio per block."""
        choices = [Choice("stem.residual", (0, 1))]
        choices += [Choice(name, tuple(sorted(set(wide)))) for name, wide in self._channels.items()]
        for i, j, depths in self._blocks():
            if j == 0:
                choices.append(Choice(f"stages.{i}.depth", depths))
            needs = from_count(f"stages.{i}.depth", depths, j)
            choices.append(Choice(f"stages.{i}.{j}.expand", self.expands, needs))
        return SearchSpace(tuple(choices))

    def network(self) -> nn.Module:
        """The largest network, initialised as the reference does: convolutions normal by their fan-out."""
        stem, hidden = self._channels["stem.width"][-1], self._channels["stem.hidden"][-1]
        network: nn.Module = ResNet(
            _Bottlenecks(self.expands[-1]),
            [base + self.extra[-1] for base in self.base_depths],
            num_classes=self.classes,
            in_chans=self.channels,
            stem_type="deep",
            stem_width=stem // 2,
            avg_down=True,
            channels=tuple(rounded(wide) // Bottleneck.expansion for wide in self.stage_widths),
            drop_rate=self.dropout,
            zero_init_last=False,
        )
        network.conv1 = nn.Sequential(
            ConvBnAct(self.channels, hidden, 3, stride=2),
            ConvBnAct(hidden, hidden, 3, skip=True),
            nn.Conv2d(hidden, stem, 3, padding=1, bias=False),
        )
        initialise(network)
        return network

    def plan(self, network: nn.Module) -> Plan:
        """Every residual and hidden width, and the blocks that may be left out."""
        wiring = PlanBuilder(network, self.space)
        for name in self._channels:
            wiring.dim(name, [name], int, "residual")
        for i in (0, 1):
            wiring.layer(f"conv1.{i}.conv", "stem.hidden", "stem.hidden" if i else None)
            wiring.norm(f"conv1.{i}.bn1", "stem.hidden")
        wiring.switch("conv1.1", "stem.residual", ["stem.residual"], bool)
        wiring.layer("conv1.2", "stem.width", "stem.hidden")
        wiring.norm("bn1", "stem.width")
        for i, j, depths in self._blocks():
            path, name, width = f"layer{i + 1}.{j}", f"stages.{i}.{j}", f"stages.{i}.width"
            before = width if j else f"stages.{i - 1}.width" if i else "stem.width"
            # Two dims of one size: the 3x3 mixes all channels, so each side has an order of its own.
            first, second = (
                wiring.dim(f"{name}.{part}", [width, f"{name}.expand"], _hidden, "hidden")
                for part in ("hidden1", "hidden2")
            )
            for k, (out, into) in enumerate([(first, before), (second, first), (width, second)], 1):
                wiring.layer(f"{path}.conv{k}", out, into)
                wiring.norm(f"{path}.bn{k}", out)
            if j == 0:
                wiring.layer(f"{path}.downsample.1", width, before)
                wiring.norm(f"{path}.downsample.2", width)
            if j >= depths[0]:
                wiring.switch(path, f"{name}.present", [f"stages.{i}.depth"], partial(int.__lt__, j))
        wiring.layer("fc", None, width)
        return wiring.plan()

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """The architecture of ``{"d": [5], "e": [18], "w": [6]}``.

        ``d`` holds the stem's (its residual block is there at the largest value only) and the extra
        blocks per stage, ``w`` positions in `widths`: stem's hidden and output, then the stages.

        Raises:
            ArchitectureError: for a missing key, a list of another length or a value outside the space.
        """
        blocks = list(self._blocks())
        extra = asked(config, "d", len(self.base_depths) + 1)
        expands = asked(config, "e", len(blocks))
        values: dict[str, Any] = {"stem.residual": int(extra[0] == self.extra[-1])}
        for position, (name, wide) in zip(asked(config, "w", len(self._channels)), self._channels.items()):
            if position not in range(len(wide)):
                raise ArchitectureError(
                    f"'w' asks for position {position} of {name!r}; it can be 0 to {len(wide) - 1}"
                )
            values[name] = wide[position]
        for (i, j, _), expand in zip(blocks, expands):
            values[f"stages.{i}.depth"] = self.base_depths[i] + extra[i + 1]
            if j < values[f"stages.{i}.depth"]:
                values[f"stages.{i}.{j}.expand"] = expand
        return self.space.encode(values)

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """``{"d", "e", "w"}``; absent blocks get the first value, equal widths the first position."""
        values = self.space.decode(arch)
        stages = enumerate(self.base_depths)
        return {
            "d": [self.extra[-1] if values["stem.residual"] else self.extra[0]]
            + [int(values[f"stages.{i}.depth"]) - base for i, base in stages],
            "e": [values.get(f"stages.{i}.{j}.expand", self.expands[0]) for i, j, _ in self._blocks()],
            "w": [wide.index(int(values[name])) for name, wide in self._channels.items()],
        }

    def rename(self, name: str) -> str | None:
        """The tensor's name in timm's network."""
        name = name.replace("classifier.linear.linear.", "fc.").replace("classifier.linear.", "fc.")
        while re.search(r"\.(conv|bn)\.\1\.", name):
            name = re.sub(r"\.(conv|bn)\.\1\.", r".\1.", name)
        if found := re.fullmatch(r"input_stem\.(\d)\.(?:conv\.)?(conv|bn)\.(\w+)", name):
            ends = {"2conv": "conv1.2", "2bn": "bn1"}
            inner = f"conv1.{found[1]}.{'conv' if found[2] == 'conv' else 'bn1'}"
            return f"{ends.get(found[1] + found[2], inner)}.{found[3]}"
        if found := re.fullmatch(r"blocks\.(\d+)\.(downsample|conv(\d))\.(conv|bn)\.(\w+)", name):
            positions = [(i, j) for i, j, _ in self._blocks()]
            i, j = positions[int(found[1])] if int(found[1]) < len(positions) else (int(found[1]), 0)
            if found[2] == "downsample":
                layer = "downsample.1" if found[4] == "conv" else "downsample.2"
            else:
                layer = f"{found[4]}{found[3]}"
            return f"layer{i + 1}.{j}.{layer}.{found[5]}"
        return name
