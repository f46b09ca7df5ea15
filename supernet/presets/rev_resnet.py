"""Reversible bottlenecks: RevNet (Gomez et al., arXiv:1707.04585) over ResNet's 1x1, 3x3, 1x1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import presets
from supernet.presets.two_streams import TwoStreamPreset, layers
from supernet.space import Choice


@presets.register("rev_resnet")
@dataclass(frozen=True)
class RevResNet(TwoStreamPreset):
    """Per branch a ratio, per stage a width and a depth in whole blocks.

    Args:
        ratios: of the width of the 3x3 convolution to the stream's.
    """

    widths: tuple[tuple[int, ...], ...] = ((64, 96), (128, 192), (256, 384), (512, 768))
    ratios: tuple[float, ...] = (0.25, 0.5, 1.0)

    def branch(self, half: int, letter: str) -> nn.Module:
        """A bottleneck of the largest ratio."""
        wide = int(half * self.ratios[-1])
        return layers(
            conv1=nn.Conv2d(half, wide, 1, bias=False),
            bn1=nn.BatchNorm2d(wide),
            act1=nn.ReLU(),
            conv2=nn.Conv2d(wide, wide, 3, padding=1, bias=False),
            bn2=nn.BatchNorm2d(wide),
            act2=nn.ReLU(),
            conv3=nn.Conv2d(wide, half, 1, bias=False),
            bn3=nn.BatchNorm2d(half),
        )

    def branch_choices(self, name: str, needs: tuple[str, tuple[Any, ...]] | None) -> Iterator[Choice]:
        """The ratio."""
        yield Choice(f"{name}.ratio", self.ratios, needs)

    def wire_branch(self, wiring: PlanBuilder, path: str, name: str, half: str, width: str) -> None:
        """The width inside follows the stream's and the ratio."""
        inner = wiring.dim(
            f"{name}.inner", [width, f"{name}.ratio"], lambda wide, ratio: int(wide // 2 * ratio), "hidden"
        )
        for layer, out, into in (("1", inner, half), ("2", inner, inner), ("3", half, inner)):
            wiring.layer(f"{path}.conv{layer}", out, into)
            wiring.norm(f"{path}.bn{layer}", out)
