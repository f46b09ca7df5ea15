"""A 3-D U-Net of reversible MBConv stages: segmentation of volumes, whose activations are what does not fit.

Source: reversible mobile inverted bottlenecks for volumes (Pendse et al., BrainLes 2020; before, Brügger et al.,
arXiv:1906.06148). On
the way down a stage per resolution, on the way up another one of the same width, which is given the first one's output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.elastic.plan import Plan
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import presets
from supernet.presets.rev_mobile import RevMobile
from supernet.presets.two_streams import CONVS, NORMS, both, layers
from supernet.reversible import ReversibleStage
from supernet.space import SearchSpace


class StreamUNet(nn.Module):
    """Down through stages, up through others, and back to the size of the input.

    Args:
        stem: keeps the size.
        transitions: before each stage on the way down.
        stages: on the way down, then on the way up.
        joins: on the way up, from what comes from below beside what was there on the way down.
        head: the classes of every voxel.
    """

    def __init__(
        self,
        stem: nn.Module,
        transitions: Sequence[nn.Module],
        stages: Sequence[ReversibleStage],
        joins: Sequence[nn.Module],
        head: nn.Module,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.transitions = nn.ModuleList(transitions)
        self.stages = nn.ModuleList(stages)
        self.joins = nn.ModuleList(joins)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, depth, height, width)`` to as many voxels of class scores."""
        size = x.shape[2:]
        x = self.stem(x)
        seen: list[Tensor] = []
        down = len(self.transitions)
        for transition, stage in zip(self.transitions, self.stages):
            x = torch.cat(stage(*transition(x).chunk(2, 1)), 1)
            seen.append(x)
        for join, stage, beside in zip(self.joins, list(self.stages)[down:], seen[-2::-1]):
            x = F.interpolate(x, size=beside.shape[2:], mode="nearest")
            x = torch.cat(stage(*join(torch.cat([x, beside], 1)).chunk(2, 1)), 1)
        out: Tensor = F.interpolate(self.head(x), size=size, mode="trilinear")
        return out


@presets.register("rev_unet3d")
@dataclass(frozen=True)
class RevUNet3d(RevMobile):
    """Per branch a kernel size and an expand ratio, per resolution a width, per stage a depth in whole blocks.

    The widths are those of the way down; each stage on the way up has the width of the one at its resolution.
    """

    spatial: ClassVar[int] = 3

    classes: int = 4
    channels: int = 1
    resolution: int = 64
    widths: tuple[tuple[int, ...], ...] = ((32, 48), (64, 96), (96, 128))
    strides: tuple[int, ...] = (2, 2, 2)
    kernels: tuple[int, ...] = (3, 5)

    @property
    def example(self) -> tuple[int, ...]:
        """Shape of one volume, batch first."""
        return (1, self.channels, *[self.resolution] * 3)

    @property
    def up(self) -> tuple[int, ...]:
        """The stages on the way down whose width those on the way up have, in order."""
        return tuple(reversed(range(len(self.widths) - 1)))

    @cached_property
    def space(self) -> SearchSpace:
        """Widths on the way down, and depths and branches of all stages."""
        choices = list(super().space.choices)
        for k, level in enumerate(self.up, len(self.widths)):
            own = [c for c in self.stage_choices(k, self.widths[level]) if c.name != f"stages.{k}.width"]
            choices += own
        return SearchSpace(tuple(choices))

    def network(self) -> nn.Module:
        """The largest network, freshly initialised."""
        conv, norm = CONVS[3], NORMS[3]
        down = range(len(self.widths))
        joins = []
        for level in self.up:
            into, out = self.widths[level + 1][-1] + self.widths[level][-1], self.widths[level][-1]
            joins.append(layers(conv=conv(into, out, 1, bias=False), bn=norm(out)))
        return StreamUNet(
            layers(
                conv=conv(self.channels, self.stem, 3, padding=1, bias=False),
                bn=norm(self.stem),
                act=nn.Hardswish(),
            ),
            [self.transition(i) for i in down],
            [self.stage(i) for i in (*down, *self.up)],
            joins,
            conv(self.widths[0][-1], self.classes, 1),
        )

    def plan(self, network: nn.Module) -> Plan:
        """Both streams of a stage cut alike, on the way down and up."""
        wiring = PlanBuilder(network, self.space)
        for i in range(len(self.widths)):
            self.wire_stage(wiring, i, i)
            self.wire_transition(wiring, i)
        for k, level in enumerate(self.up):
            own, lower = f"stages.{level}.half", f"stages.{level + 1}.half"
            beside = both(own)
            wiring.layer(f"joins.{k}.conv", beside, ((lower,), (lower,), (own,), (own,)))
            wiring.norm(f"joins.{k}.bn", beside)
            self.wire_stage(wiring, len(self.widths) + k, level)
        wiring.layer("head", None, both("stages.0.half"))
        return wiring.plan()
