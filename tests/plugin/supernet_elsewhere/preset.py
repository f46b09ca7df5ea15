"""A preset: two convolutions with an elastic width between them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from supernet.elastic.plan import Plan
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import PlannedPreset, asked
from supernet.space import Architecture, Choice, SearchSpace


@dataclass(frozen=True)
class TwoLayers(PlannedPreset):
    """A width, and nothing else.

    Args:
        classes: of the classifier.
        widths: channels between them.
    """

    classes: int = 10
    widths: tuple[int, ...] = (4, 8, 12)

    @cached_property
    def space(self) -> SearchSpace:
        """One choice."""
        return SearchSpace((Choice("width", self.widths),))

    def network(self) -> nn.Module:
        """Convolution, convolution, pooling, classifier."""
        return nn.Sequential(
            OrderedDict(
                one=nn.Conv2d(self.channels, self.widths[-1], 3, stride=2),
                act=nn.ReLU(),
                two=nn.Conv2d(self.widths[-1], 8, 3),
                pool=nn.AdaptiveAvgPool2d(1),
                flat=nn.Flatten(),
                head=nn.Linear(8, self.classes),
            )
        )

    def plan(self, network: nn.Module) -> Plan:
        """The width is an output of the first and an input of the second."""
        wiring = PlanBuilder(network, self.space)
        width = wiring.dim("width", ["width"], int, "hidden", self.widths[-1])
        wiring.layer("one", width)
        wiring.layer("two", None, width)
        return wiring.plan()

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """Of ``{"width": 8}``."""
        return self.space.encode({"width": asked(config, "width")})

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """The same dictionary."""
        return dict(self.space.decode(arch))
