"""MatFormer (Devvrit et al., arXiv:2310.07707) over a timm ViT: nested MLPs, mixed freely between blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import timm
from torch import nn

from supernet.elastic.plan import Plan
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import PlannedPreset, asked, presets
from supernet.space import Architecture, Choice, SearchSpace


@presets.register("matformer")
@dataclass(frozen=True)
class MatFormer(PlannedPreset):
    """The hidden width of every MLP is a prefix of the largest one's, chosen per block (Mix'n'Match).

    Args:
        model: a timm model whose ``blocks`` hold an ``mlp`` of ``fc1`` and ``fc2``.
        blocks: how many it has.
        granularities: shares of the MLP's hidden width, ascending.
        classes: of the classifier.
        pretrained: start from timm's weights; the largest subnet is then the pretrained model.
    """

    instead: ClassVar[str] = "MatFormer(pretrained=True) starts from timm's weights"

    model: str = "vit_small_patch16_224"
    blocks: int = 12
    granularities: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0)
    classes: int = 1000
    pretrained: bool = False

    @cached_property
    def space(self) -> SearchSpace:
        """A granularity per block."""
        return SearchSpace(tuple(Choice(f"blocks.{i}.mlp", self.granularities) for i in range(self.blocks)))

    def network(self) -> nn.Module:
        """The largest network over timm's model."""
        network: nn.Module = timm.create_model(
            self.model,
            pretrained=self.pretrained,
            num_classes=self.classes,
            in_chans=self.channels,
            img_size=self.resolution,
        )
        return network

    def plan(self, network: nn.Module) -> Plan:
        """A prefix of every hidden layer."""
        wiring = PlanBuilder(network, self.space)
        for i in range(self.blocks):
            mlp = f"blocks.{i}.mlp"
            full = network.get_parameter(f"{mlp}.fc1.weight").shape[0]
            hidden = wiring.dim(f"{mlp}.hidden", [mlp], partial(_share, full), "hidden", full)
            wiring.layer(f"{mlp}.fc1", hidden)
            wiring.layer(f"{mlp}.fc2", None, hidden)
        return wiring.plan()

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """The architecture of ``{"granularities": [one per block]}``.

        Raises:
            ArchitectureError: for a missing key, a list of another length or a value outside the space.
        """
        shares = asked(config, "granularities", self.blocks)
        return self.space.encode({f"blocks.{i}.mlp": share for i, share in enumerate(shares)})

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """``{"granularities": [...]}``."""
        return {"granularities": list(self.space.decode(arch).values())}


def _share(full: int, granularity: float) -> int:
    return int(full * granularity)
