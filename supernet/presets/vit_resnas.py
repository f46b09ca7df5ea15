"""ViT-ResNAS (Liao et al., arXiv:2109.00642): a ViT in three stages with residual spatial reductions.

Per stage an embedding width and how many of the optional blocks run; per block heads and an MLP
width. Written from a description of the published space; the reference's code and weights, which may
not be used commercially, were no input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import isqrt
from typing import Any

import torch
from timm.layers import Attention
from timm.models._efficientnet_blocks import ConvBnAct
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.elastic.plan import Plan
from supernet.errors import ArchitectureError
from supernet.presets.preset import Built, asked, presets
from supernet.presets.wiring import Wiring
from supernet.space import Architecture, Choice, SearchSpace, Value

KEPT = (5 / 8, 11 / 16, 3 / 4, 7 / 8, 1)
RATIOS = (1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0)
HEAD_DIMS = (32, 48, 64)
PATCH, END, REDUCTION, BLOCK = 4, 2, 3, 1
"""Kinds of entries in the reference's network definition."""


class PatchStem(nn.Module):
    """Images ``(batch, channels, side, side)`` to patches ``(batch, (side / 14)^2, width)``."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = ConvBnAct(channels, 24, 3, stride=2)
        self.conv2 = ConvBnAct(24, 24, 3)
        self.conv3 = ConvBnAct(24, 24, 3)
        self.proj = nn.Conv2d(24, width, 7, 7)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(x)
        out: Tensor = self.proj(self.conv3(self.conv2(first)) + first)
        return out.flatten(2).transpose(1, 2)


class SpatialReduction(nn.Module):
    """Halves the patches' grid and widens the tokens; the residual is pooled and padded with zeros."""

    def __init__(self, into: int, out: int, patches: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(into, eps=1e-6)
        self.conv = nn.Conv2d(into, out, 3, 2, 1)
        self.token = nn.Linear(into, out)
        self.pos_embed = nn.Parameter(torch.zeros(1, patches, out))

    def forward(self, x: Tensor) -> Tensor:
        side = isqrt(x.shape[1] - 1)
        normed = self.norm(x)
        patches = self.conv(grid(normed[:, 1:], side)).flatten(2).transpose(1, 2) + self.pos_embed
        pooled = F.avg_pool2d(grid(x[:, 1:], side), 2).flatten(2).transpose(1, 2)
        residual = torch.cat([x[:, :1], pooled], 1)
        out = torch.cat([self.token(normed[:, :1]), patches], 1)
        return out + F.pad(residual, (0, out.shape[2] - residual.shape[2]))


class StagedViT(nn.Module):
    """Stem, class token, stages with reductions between them, and a classifier on the class token."""

    def __init__(
        self, stem: nn.Module, stages: nn.Module, patches: int, widths: Sequence[int], classes: int
    ) -> None:
        super().__init__()
        self.stem = stem
        self.cls_token = nn.Parameter(torch.zeros(1, 1, widths[0]))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + patches, widths[0]))
        self.stages = stages
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), self.stem(x)], 1) + self.pos_embed
        out: Tensor = self.head(self.norm(self.stages(tokens)[:, 0]))
        return out


def grid(tokens: Tensor, side: int) -> Tensor:
    """Tokens ``(batch, side^2, width)`` as an image ``(batch, width, side, side)``."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, side, side)


@presets.register("vit_resnas_tiny")
@dataclass(frozen=True)
class ViTResNASTiny(Built):
    """ViT-ResNAS-Tiny with several head dimensions (``tiny_mh``).

    MLP widths are multiples of the stage's largest embedding. The residual of a reduction is its
    input before the norm.

    Args:
        widths: embedding of the stored tensors, per stage.
        heads: head counts per stage, of 32, 48 and 64 channels.
        blocks: per stage; every second one is optional, and those that run come first.
        classes: of the classifier.

    The resolution has to be a multiple of 56.
    """

    widths: tuple[int, ...] = (256, 512, 1024)
    heads: tuple[tuple[int, ...], ...] = ((3, 4, 5, 6), (6, 8, 10, 12), (6, 8, 10, 12))
    blocks: tuple[int, ...] = (6, 6, 6)
    classes: int = 1000

    def _blocks(self) -> Iterator[tuple[int, int, int | None]]:
        """Stage, position in it and which optional block it is, None for the others."""
        for i, count in enumerate(self.blocks):
            yield from ((i, j, j // 2 if j % 2 else None) for j in range(count))

    @cached_property
    def space(self) -> SearchSpace:
        """Embedding and number of optional blocks per stage, heads and MLP width per block."""
        choices: list[Choice] = []
        for i, j, optional in self._blocks():
            most = self.blocks[i] // 2
            if j == 0:
                choices.append(
                    Choice(f"stages.{i}.width", tuple(int(self.widths[i] * kept) for kept in KEPT))
                )
                choices.append(Choice(f"stages.{i}.optional", tuple(range(most + 1))))
            needs: tuple[str, tuple[Value, ...]] | None = None
            if optional is not None:
                needs = (f"stages.{i}.optional", tuple(range(optional + 1, most + 1)))
            choices.append(Choice(f"stages.{i}.{j}.heads", self.heads[i], needs))
            hidden = tuple(int(self.widths[i] * ratio) for ratio in RATIOS)
            choices.append(Choice(f"stages.{i}.{j}.mlp", hidden, needs))
        return SearchSpace(tuple(choices))

    def network(self) -> nn.Module:
        """The largest network, freshly initialised (truncated normal, deviation 0.02)."""
        side = self.resolution // 14
        parts: list[nn.Module] = []
        for i, width in enumerate(self.widths):
            if i:
                parts.append(SpatialReduction(self.widths[i - 1], width, (side >> i) ** 2))
            parts.append(nn.Sequential(*(self._block(i) for _ in range(self.blocks[i]))))
        network = StagedViT(
            PatchStem(self.channels, self.widths[0]),
            nn.Sequential(*parts),
            side * side,
            self.widths,
            self.classes,
        )
        for name, parameter in network.named_parameters():
            if name.endswith(("pos_embed", "cls_token")):
                nn.init.trunc_normal_(parameter, std=0.02)
        for module in network.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        return network

    def _block(self, i: int) -> nn.Module:
        width, heads, head_dim = self.widths[i], self.heads[i][-1], HEAD_DIMS[i]
        norm = partial(nn.LayerNorm, eps=1e-6)
        block: nn.Module = Block(width, 1, mlp_ratio=RATIOS[-1], qkv_bias=True, norm_layer=norm)
        block.attn = Attention(width, heads, attn_head_dim=head_dim, qkv_bias=True)
        return block

    def plan(self, network: nn.Module) -> Plan:
        """Embeddings, heads and hidden widths, and the blocks that may be left out."""
        wiring = Wiring(network, self.space)
        for i in range(len(self.widths)):
            # The padded residual of a reduction ties neighbouring widths, so their channels keep their order.
            wiring.dim(f"stages.{i}.width", [f"stages.{i}.width"], int, "tied")
        wiring.layer("stem.proj", "stages.0.width")
        for name in ("cls_token", "pos_embed"):
            wiring.tensor(name, None, None, "stages.0.width")
        for i in range(1, len(self.widths)):
            path, into, out = f"stages.{2 * i - 1}", f"stages.{i - 1}.width", f"stages.{i}.width"
            wiring.norm(f"{path}.norm", into)
            wiring.layer(f"{path}.conv", out, into)
            wiring.layer(f"{path}.token", out, into)
            wiring.tensor(f"{path}.pos_embed", None, None, out)
        for i, j, optional in self._blocks():
            path, name, width = f"stages.{2 * i}.{j}", f"stages.{i}.{j}", f"stages.{i}.width"
            heads = wiring.dim(f"{name}.heads", [f"{name}.heads"], int, "heads")
            hidden = wiring.dim(f"{name}.mlp", [f"{name}.mlp"], int, "hidden")
            wiring.norm(f"{path}.norm1", width)
            wiring.attention(f"{path}.attn", width, heads)
            wiring.norm(f"{path}.norm2", width)
            wiring.layer(f"{path}.mlp.fc1", hidden, width)
            wiring.layer(f"{path}.mlp.fc2", width, hidden)
            if optional is not None:
                wiring.switch(
                    path, f"{name}.present", [f"stages.{i}.optional"], partial(int.__lt__, optional)
                )
        wiring.norm("norm", width)
        wiring.layer("head", None, width)
        return wiring.plan()

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """The architecture of ``{"network_def": ((4, C), (1, (C, heads, dim), (C, ffn), exists), ...)}``.

        Raises:
            ArchitectureError: for a definition of other blocks, or a value outside the space.
        """
        entries = [entry for entry in asked(config, "network_def") if entry[0] == BLOCK]
        blocks = list(self._blocks())
        if len(entries) != len(blocks):
            raise ArchitectureError(
                f"'network_def' holds {len(entries)} blocks; this space has {len(blocks)}"
            )
        values: dict[str, Any] = {f"stages.{i}.optional": 0 for i in range(len(self.blocks))}
        for (i, j, optional), (_, (width, heads, _), (_, hidden), exists) in zip(blocks, entries):
            values[f"stages.{i}.width"] = width
            if optional is not None and not (exists and values[f"stages.{i}.optional"] == optional):
                continue
            if optional is not None:
                values[f"stages.{i}.optional"] += 1
            values |= {f"stages.{i}.{j}.heads": heads, f"stages.{i}.{j}.mlp": hidden}
        return self.space.encode(values)

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """``{"network_def": ...}``; blocks that are left out get the smallest sizes."""
        values = self.space.decode(arch)
        widths = [int(values[f"stages.{i}.width"]) for i in range(len(self.widths))]
        entries: list[tuple[Any, ...]] = [(PATCH, widths[0])]
        for i, j, _ in self._blocks():
            if i and j == 0:
                entries.append((REDUCTION, widths[i - 1], widths[i]))
            heads = values.get(f"stages.{i}.{j}.heads", self.heads[i][0])
            hidden = values.get(f"stages.{i}.{j}.mlp", int(self.widths[i] * RATIOS[0]))
            exists = int(f"stages.{i}.{j}.heads" in values)
            entries.append((BLOCK, (widths[i], heads, HEAD_DIMS[i]), (widths[i], hidden), exists))
        return {"network_def": (*entries, (END, widths[-1], self.classes))}


@presets.register("vit_resnas_small")
@dataclass(frozen=True)
class ViTResNASSmall(ViTResNASTiny):
    """ViT-ResNAS-Small with several head dimensions (``small_mh``)."""

    widths: tuple[int, ...] = (320, 640, 1280)
    heads: tuple[tuple[int, ...], ...] = ((5, 6, 7, 8), (10, 12, 14, 16), (10, 12, 14, 16))
    blocks: tuple[int, ...] = (7, 7, 7)
