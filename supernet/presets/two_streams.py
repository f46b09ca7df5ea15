"""What the presets of reversible networks share: two streams, stages that can be run backwards, widths cut alike.

Inside a stage the size stays, so stage and width change between stages: an ordinary layer is given both streams side
by side and makes the two of the next stage. Where a width is elastic, each stream keeps its own leading channels: the
leading half of both together would be the first stream alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from supernet.elastic.plan import Plan
from supernet.errors import SpaceError
from supernet.presets.plan_builder import Axis, PlanBuilder
from supernet.presets.preset import OwnReference, PlannedPreset, from_count, need_blocks
from supernet.reversible import ReversibleStage
from supernet.space import Choice, SearchSpace

BRANCHES = ("F", "G")
CONVS: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
NORMS: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class TwoStreams(nn.Module):
    """A stem, then layers that change the size and reversible stages in turn, then a head on both streams.

    Args:
        stem: from inputs to the first features.
        transitions: one before each stage.
        stages: of two streams.
        head: from the features of the last stage to the answer.
        axis: of the features, along which they are two streams.
    """

    def __init__(
        self,
        stem: nn.Module,
        transitions: list[nn.Module],
        stages: list[ReversibleStage],
        head: nn.Module,
        axis: int = 1,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.transitions = nn.ModuleList(transitions)
        self.stages = nn.ModuleList(stages)
        self.head = head
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """From inputs to the head's answer."""
        x = self.stem(x)
        for transition, stage in zip(self.transitions, self.stages):
            x = torch.cat(stage(*transition(x).chunk(stage.streams, self.axis)), self.axis)
        out: Tensor = self.head(x)
        return out


def layers(**named: nn.Module | None) -> nn.Sequential:
    """A sequence of named layers; those that are None are left out."""
    sequence = nn.Sequential()
    for name, layer in named.items():
        if layer is not None:
            sequence.add_module(name, layer)
    return sequence


def inverted_bottleneck(
    into: int, wide: int, out: int, kernel: int, stride: int = 1, dims: int = 2
) -> nn.Sequential:
    """Expand, depth-wise, project (MobileNetV2), without a skip: the coupling of the streams is one.

    Activations are not in place: what they are given is asked for again.
    """
    conv, norm = CONVS[dims], NORMS[dims]
    return layers(
        conv_pw=conv(into, wide, 1, bias=False),
        bn1=norm(wide),
        act1=nn.Hardswish(),
        conv_dw=conv(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False),
        bn2=norm(wide),
        act2=nn.Hardswish(),
        conv_pwl=conv(wide, out, 1, bias=False),
        bn3=norm(out),
    )


def both(half: str) -> Axis:
    """The axis of two streams side by side, each of a dim."""
    return ((half,), (half,))


@dataclass(frozen=True)
class TwoStreamPreset(OwnReference, PlannedPreset):
    """Stages of two streams with an elastic width and depth each; what a branch is, a preset says.

    Args:
        classes: of the classifier.
        stem: channels after the first layer.
        widths: of both streams together, to choose from, stage by stage; multiples of 16, so that each stream has a
            multiple of 8.
        strides: of the layer before each stage.
        depths: whole blocks, each of a branch F and a branch G, to choose from in every stage.
        fixed_point: streams that are undone to the last bit, see `supernet.reversible`.
        overlap: on a GPU, recompute beside the gradients.
    """

    spatial: ClassVar[int] = 2
    """Spatial dimensions of the features."""

    classes: int = 1000
    stem: int = 16
    widths: tuple[tuple[int, ...], ...] = ((32, 48), (48, 64), (96, 128), (160, 192))
    strides: tuple[int, ...] = (2, 2, 2, 2)
    depths: tuple[int, ...] = (1, 2, 3)
    fixed_point: bool = False
    overlap: bool = False

    def __post_init__(self) -> None:
        need_blocks("depths", self.depths)
        if len(self.strides) != len(self.widths):
            raise SpaceError(
                f"{len(self.strides)} strides were given for {len(self.widths)} stages; give one each"
            )
        for i, widths in enumerate(self.widths):
            if not widths or any(width % 16 or width < 16 for width in widths):
                near = tuple(max(16, round(width / 16) * 16) for width in widths) or (32, 48)
                raise SpaceError(
                    f"the widths of stage {i} are {widths}; two streams of a multiple of 8 need multiples of 16, "
                    f"e.g. {near}"
                )

    @abstractmethod
    def branch(self, half: int, letter: str) -> nn.Module:
        """A freshly initialised branch F or G at its largest, for a stream of so many channels."""

    @abstractmethod
    def branch_choices(self, name: str, needs: tuple[str, tuple[Any, ...]] | None) -> Iterator[Choice]:
        """What can be chosen of a branch; its name ends with its letter."""

    @abstractmethod
    def wire_branch(self, wiring: PlanBuilder, path: str, name: str, half: str, width: str) -> None:
        """State the sizes of a branch.

        Args:
            wiring: of the whole network.
            path: of the module.
            name: that its choices begin with.
            half: dim of the stream's channels.
            width: the choice of both streams' channels.
        """

    @cached_property
    def space(self) -> SearchSpace:
        """Width and depth per stage, and what each branch has, which matters when its block is there."""
        return SearchSpace(
            tuple(choice for i, widths in enumerate(self.widths) for choice in self.stage_choices(i, widths))
        )

    def stage_choices(self, i: int, widths: tuple[int, ...]) -> Iterator[Choice]:
        """What can be chosen of a stage."""
        yield Choice(f"stages.{i}.width", widths)
        yield Choice(f"stages.{i}.depth", self.depths)
        for j in range(self.depths[-1]):
            needs = from_count(f"stages.{i}.depth", self.depths, j)
            for letter in BRANCHES:
                yield from self.branch_choices(f"stages.{i}.{j}.{letter}", needs)

    def stage(self, i: int) -> ReversibleStage:
        """The largest form of a stage."""
        half = self.widths[i][-1] // 2
        blocks = [[self.branch(half, letter) for letter in BRANCHES] for _ in range(self.depths[-1])]
        return ReversibleStage.of(blocks, fixed_point=self.fixed_point, overlap=self.overlap)

    def transition(self, i: int) -> nn.Module:
        """The layer before a stage, at its largest."""
        into = self.widths[i - 1][-1] if i else self.stem
        return inverted_bottleneck(into, 4 * into, self.widths[i][-1], 3, self.strides[i], self.spatial)

    def wire_transition(self, wiring: PlanBuilder, i: int) -> None:
        """State the sizes of the layer before a stage."""
        path, half = f"transitions.{i}", f"stages.{i}.half"
        wiring.layer(f"{path}.conv_pw", None, both(f"stages.{i - 1}.half") if i else None)
        wiring.layer(f"{path}.conv_pwl", both(half))
        wiring.norm(f"{path}.bn3", both(half))

    def network(self) -> nn.Module:
        """The largest network, freshly initialised."""
        conv, norm = CONVS[self.spatial], NORMS[self.spatial]
        last = self.widths[-1][-1]
        pool = nn.AdaptiveAvgPool2d(1) if self.spatial == 2 else nn.AdaptiveAvgPool3d(1)
        return TwoStreams(
            layers(
                conv=conv(self.channels, self.stem, 3, 2, 1, bias=False),
                bn=norm(self.stem),
                act=nn.Hardswish(),
            ),
            [self.transition(i) for i in range(len(self.widths))],
            [self.stage(i) for i in range(len(self.widths))],
            layers(pool=pool, flatten=nn.Flatten(), classifier=nn.Linear(last, self.classes)),
        )

    def wire_head(self, wiring: PlanBuilder, features: Axis) -> None:
        """State the sizes of the head."""
        wiring.layer("head.classifier", None, features)

    def plan(self, network: nn.Module) -> Plan:
        """Both streams of a stage cut alike, whole blocks left out, and what each branch has."""
        wiring = PlanBuilder(network, self.space)
        for i in range(len(self.widths)):
            self.wire_stage(wiring, i, i)
            self.wire_transition(wiring, i)
        self.wire_head(wiring, both(f"stages.{len(self.widths) - 1}.half"))
        return wiring.plan()

    def wire_stage(self, wiring: PlanBuilder, i: int, level: int) -> None:
        """State the sizes of stage ``i``, which has the width of stage ``level``."""
        width, half = f"stages.{level}.width", f"stages.{level}.half"
        if half not in wiring.dims:
            wiring.dim(half, [width], lambda wide: wide // 2, "residual")
        for k in range(2 * self.depths[-1]):
            j, letter = k // 2, BRANCHES[k % 2]
            path, name = f"stages.{i}.couplings.{k}", f"stages.{i}.{j}.{letter}"
            self.wire_branch(wiring, f"{path}.branch", name, half, width)
            if j >= self.depths[0]:
                wiring.switch(path, f"{name}.present", [f"stages.{i}.depth"], partial(int.__lt__, j))
