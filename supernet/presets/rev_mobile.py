"""Reversible MBConv: inverted bottlenecks on two streams (RevNet, arXiv:1707.04585, with MobileNetV2's blocks).

Training in the mode ``reversible`` keeps the output of each stage and nothing inside, however deep it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import presets
from supernet.presets.two_streams import TwoStreamPreset, inverted_bottleneck
from supernet.space import Choice


@presets.register("rev_mobile")
@dataclass(frozen=True)
class RevMobile(TwoStreamPreset):
    """Per branch a kernel size and an expand ratio, per stage a width and a depth in whole blocks.

    Args:
        kernels: depth-wise kernel sizes.
        expands: ratios of a branch's hidden width to its stream.
    """

    kernels: tuple[int, ...] = (3, 5, 7)
    expands: tuple[int, ...] = (3, 4, 6)

    def branch(self, half: int, letter: str) -> nn.Module:
        """An inverted bottleneck of the largest kernel and ratio."""
        return inverted_bottleneck(half, half * self.expands[-1], half, self.kernels[-1], dims=self.spatial)

    def branch_choices(self, name: str, needs: tuple[str, tuple[Any, ...]] | None) -> Iterator[Choice]:
        """Kernel size and expand ratio."""
        yield Choice(f"{name}.kernel", self.kernels, needs)
        yield Choice(f"{name}.expand", self.expands, needs)

    def wire_branch(self, wiring: PlanBuilder, path: str, name: str, half: str, width: str) -> None:
        """The hidden width follows the stream's and the ratio."""
        hidden = wiring.dim(
            f"{name}.hidden", [width, f"{name}.expand"], lambda wide, expand: wide // 2 * expand, "hidden"
        )
        kernel = wiring.dim(f"{name}.kernel", [f"{name}.kernel"], int, "kernel")
        wiring.inverted_residual(path, hidden, kernel, width=half)
