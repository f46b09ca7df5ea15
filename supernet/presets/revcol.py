"""RevCol (Cai et al., arXiv:2212.11696): columns of four resolutions, of which each updates all levels of the last.

``c_l' = level_l(c_{l-1}', c_{l+1}) + alpha_l c_l``: a level sees the finer one of its own column and the coarser one of
the column before. All columns are one reversible stage, so that memory grows with neither their depth nor their number;
the reference keeps five maps per column. Factors alpha are kept a thousandth away from zero, where they cannot be
undone. Columns named in ``supervised`` have a classifier of their own, and end a stage: their levels are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from supernet.elastic.plan import Plan
from supernet.errors import SpaceError
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import OwnReference, PlannedPreset, from_count, need_blocks, presets
from supernet.presets.two_streams import layers
from supernet.reversible import Coupling, ReversibleStage
from supernet.space import Choice, SearchSpace


class ConvNextBlock(nn.Module):
    """A ConvNeXt block with its own skip."""

    def __init__(self, width: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = LayerNorm2d(width)
        self.fc1, self.act, self.fc2 = nn.Conv2d(width, hidden, 1), nn.GELU(), nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of ``x``."""
        out: Tensor = x + self.fc2(self.act(self.fc1(self.norm(self.conv_dw(x)))))
        return out


class Level(nn.Module):
    """One level of one column: the finer level halved, the coarser one doubled, then blocks on their sum.

    Args:
        finer: channels of the finer level; the stem for the first one.
        width: channels of this one.
        coarser: channels of the coarser one; None for the last.
        is_first: whether the finer one has the same resolution already.
        blocks: after the sum.
    """

    def __init__(
        self, finer: int, width: int, coarser: int | None, is_first: bool, blocks: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.down: nn.Module = nn.Identity()
        if not is_first:
            self.down = layers(conv=nn.Conv2d(finer, width, 2, 2), norm=LayerNorm2d(width))
        self.up = None
        if coarser is not None:
            self.up = layers(conv=nn.Conv2d(coarser, width, 1), norm=LayerNorm2d(width))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, finer: Tensor, coarser: Tensor | None = None) -> Tensor:
        """``(batch, width, height, width)`` of this level."""
        x = self.down(finer)
        if self.up is not None and coarser is not None:
            x = x + F.interpolate(self.up(coarser), size=x.shape[2:], mode="nearest")
        out: Tensor = self.blocks(x)
        return out


class Columns(nn.Module):
    """A stem, columns in reversible stages, and a classifier after each stage; the last one answers.

    In training, with more than one stage, the answer is followed by a tuple of what the other classifiers say.
    """

    def __init__(
        self,
        stem: nn.Module,
        widths: Sequence[int],
        stages: Sequence[ReversibleStage],
        heads: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        self.stem, self.widths = stem, tuple(widths)
        self.stages, self.heads = nn.ModuleList(stages), nn.ModuleList(heads)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, tuple[Tensor, ...]]:
        """Images to ``(batch, classes)``."""
        x = self.stem(x)
        batch, _, height, width = x.shape
        streams = [x]
        for i, channels in enumerate(self.widths):
            streams.append(x.new_zeros(batch, channels, height >> i, width >> i))
        said: list[Tensor] = []
        for i, (stage, head) in enumerate(zip(self.stages, self.heads)):
            streams = list(stage(*streams))
            if self.training or i == len(self.stages) - 1:
                said.append(head(streams[-1]))
        return (said[-1], tuple(said[:-1])) if len(said) > 1 else said[-1]


@presets.register("revcol")
@dataclass(frozen=True)
class RevCol(OwnReference, PlannedPreset):
    """A number of columns, and a hidden width for each level of each.

    Args:
        classes: of the classifiers.
        widths: of the levels, from fine to coarse.
        blocks: of the levels.
        columns: how many, to choose from.
        ratios: hidden width of a block over its level's.
        kernel: depth-wise.
        supervised: columns, counted from 0, after which a classifier of their own looks in training; all of them
            have to be there in the smallest network.

    Raises:
        SpaceError: for a supervised column that may be left out, or levels that are not described.
    """

    classes: int = 1000
    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (2, 2, 4, 2)
    columns: tuple[int, ...] = (2, 3, 4)
    ratios: tuple[int, ...] = (2, 3, 4)
    kernel: int = 3
    supervised: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        need_blocks("columns", self.columns)
        need_blocks("blocks", self.blocks)
        if len(self.blocks) != len(self.widths):
            raise SpaceError(
                f"{len(self.blocks)} levels have blocks and {len(self.widths)} have widths; give one each"
            )
        for column in self.supervised:
            if not 0 <= column < self.columns[0] - 1:
                raise SpaceError(
                    f"column {column} is to be supervised; the smallest network has columns 0 to "
                    f"{self.columns[0] - 1}, of which the last is supervised by the classifier"
                )

    @cached_property
    def space(self) -> SearchSpace:
        """The columns, and the ratio of each level of each."""
        choices = [Choice("columns", self.columns)]
        for j in range(self.columns[-1]):
            needs = from_count("columns", self.columns, j)
            choices += [Choice(f"columns.{j}.{i}.ratio", self.ratios, needs) for i in range(len(self.widths))]
        return SearchSpace(tuple(choices))

    def _column(self, j: int) -> list[Coupling]:
        found = []
        for i, width in enumerate(self.widths):
            last = i == len(self.widths) - 1
            inside = [
                ConvNextBlock(width, width * self.ratios[-1], self.kernel) for _ in range(self.blocks[i])
            ]
            finer = self.widths[i - 1] if i else width
            level = Level(finer, width, None if last else self.widths[i + 1], i == 0, inside)
            # Stream 0 is what the stem says: it is read by the first level of every column and never changed.
            reads = (i,) if last else (i, i + 2)
            scale = nn.Parameter(torch.full((1, width, 1, 1), 0.5))
            found.append(Coupling(level, i + 1, reads, scale, title=f"level {i} of column {j}"))
        return found

    def _ends(self) -> list[int]:
        """How many columns there are at the end of each stage."""
        return [*(column + 1 for column in sorted(set(self.supervised))), self.columns[-1]]

    def network(self) -> nn.Module:
        """The largest network, freshly initialised."""
        columns = [self._column(j) for j in range(self.columns[-1])]
        stages, start = [], 0
        for end in self._ends():
            couplings = [coupling for column in columns[start:end] for coupling in column]
            stages.append(ReversibleStage(couplings, len(self.widths) + 1))
            start = end
        first, last = self.widths[0], self.widths[-1]
        heads = [
            layers(
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                norm=nn.LayerNorm(last),
                classifier=nn.Linear(last, self.classes),
            )
            for _ in stages
        ]
        stem = layers(conv=nn.Conv2d(self.channels, first, 4, 4), norm=LayerNorm2d(first))
        return Columns(stem, self.widths, stages, heads)

    def plan(self, network: nn.Module) -> Plan:
        """Hidden widths, and whole columns that are left out."""
        wiring = PlanBuilder(network, self.space)
        start = 0
        for k, end in enumerate(self._ends()):
            for j in range(start, end):
                for i in range(len(self.widths)):
                    self._wire(wiring, f"stages.{k}.couplings.{(j - start) * len(self.widths) + i}", i, j)
            start = end
        return wiring.plan()

    def _wire(self, wiring: PlanBuilder, path: str, i: int, j: int) -> None:
        name = f"columns.{j}.{i}"
        width = self.widths[i]
        hidden = wiring.dim(f"{name}.hidden", [f"{name}.ratio"], lambda ratio: width * ratio, "hidden")
        for b in range(self.blocks[i]):
            wiring.layer(f"{path}.branch.blocks.{b}.fc1", hidden)
            wiring.layer(f"{path}.branch.blocks.{b}.fc2", None, hidden)
        if j >= self.columns[0]:
            wiring.switch(path, f"{name}.present", ["columns"], partial(int.__lt__, j))
