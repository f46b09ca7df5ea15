"""AutoFormer (Chen et al., arXiv:2107.00651) and PreNAS (Wang et al., arXiv:2304.14636): elastic ViTs.

One embedding width for the whole network, a number of heads and an MLP ratio per block, and a depth.
The network is timm's ViT with an attention that knows relative positions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.elastic.plan import Plan
from supernet.errors import ArchitectureError
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import PlannedPreset, asked, from_count, need_blocks, presets
from supernet.space import Architecture, Choice, SearchSpace

BiasLayout = Literal["autoformer", "interleaved"]
HEAD_DIM = 64


class RelativePosition(nn.Module):
    """A learned vector for each offset between two patches: a table per direction.

    Row 0 is for the class token.

    Args:
        side: patches per side of the image.
        reach: offsets beyond it share a row.
        width: of the vectors.
    """

    index: Tensor

    def __init__(self, side: int, reach: int, width: int) -> None:
        super().__init__()
        self.embeddings_table_v = nn.Parameter(torch.empty(2 * reach + 2, width))
        self.embeddings_table_h = nn.Parameter(torch.empty(2 * reach + 2, width))
        for table in (self.embeddings_table_v, self.embeddings_table_h):
            nn.init.trunc_normal_(table, std=0.02)
        place = torch.arange(side * side)
        rows, columns = place // side, place % side
        offsets = torch.stack([rows[None] - rows[:, None], columns[None] - columns[:, None]])
        self.register_buffer(
            "index", F.pad(offsets.clamp(-reach, reach) + reach + 1, (1, 0, 1, 0)), persistent=False
        )

    def forward(self) -> Tensor:
        """``(tokens, tokens, width)``, from each token to each other."""
        return self.embeddings_table_v[self.index[0]] + self.embeddings_table_h[self.index[1]]


class RelativeAttention(nn.Module):
    """Attention whose keys and values carry relative positions; rows of its projection interleave q, k, v.

    The number of heads is read off the projection: 64 channels each.

    Args:
        dim: width of the tokens.
        heads: of the largest network.
        side: patches per side of the image.
        reach: largest offset with a vector of its own.
        bias_layout: ``interleaved`` like the rows of the weight (PreNAS), or ``autoformer``: queries,
            keys and values one after the other, so that roles shift when the width does.
    """

    def __init__(self, dim: int, heads: int, side: int, reach: int, bias_layout: BiasLayout) -> None:
        super().__init__()
        self.bias_layout = bias_layout
        self.scale = HEAD_DIM**-0.5
        self.qkv = nn.Linear(dim, 3 * HEAD_DIM * heads)
        self.rel_pos_embed_k = RelativePosition(side, reach, HEAD_DIM)
        self.rel_pos_embed_v = RelativePosition(side, reach, HEAD_DIM)
        self.proj = nn.Linear(HEAD_DIM * heads, dim)

    def forward(self, x: Tensor, attn_mask: None = None, is_causal: bool = False) -> Tensor:
        """Tokens ``(batch, tokens, dim)`` to the same shape; the masks of timm's interface are not used."""
        batch, tokens, _ = x.shape
        rows = F.linear(x, self.qkv.weight).view(batch, tokens, -1, 3).transpose(2, 3)
        interleaved = self.bias_layout == "interleaved"
        bias = self.qkv.bias.view(-1, 3).T if interleaved else self.qkv.bias.view(3, -1)
        q, k, v = (rows + bias).view(batch, tokens, 3, -1, HEAD_DIM).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) + torch.einsum("bhid,ijd->bhij", q, self.rel_pos_embed_k())
        scores = (scores * self.scale).softmax(-1)
        mixed = scores @ v + torch.einsum("bhij,ijd->bhid", scores, self.rel_pos_embed_v())
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


@presets.register("autoformer_tiny")
@dataclass(frozen=True)
class AutoFormerTiny(PlannedPreset):
    """AutoFormer-T: 11.67 M shared parameters.

    The published AutoFormer-T uses MLP ratio 3.0 in three blocks, which the published space lacks;
    ``mlp_ratios=(3.0, 3.5, 4.0)`` holds it.

    Args:
        embed_dim: width of the stored tensors, 64 per head.
        heads: of the stored tensors.
        mlp_ratio: of the stored tensors.
        embed_dims: widths to choose from.
        head_counts: per block.
        mlp_ratios: hidden width of an MLP over the embedding's, per block.
        depths: how many blocks.
        classes: of the classifier.
        patch: pixels per side.
        reach: largest offset of relative positions.
        drop_path: rate in the last stored block, rising from 0.
        bias_layout: how the bias of queries, keys and values is stored, see `RelativeAttention`.
    """

    embed_dim: int = 256
    heads: int = 4
    mlp_ratio: float = 4.0
    embed_dims: tuple[int, ...] = (192, 216, 240)
    head_counts: tuple[int, ...] = (3, 4)
    mlp_ratios: tuple[float, ...] = (3.5, 4.0)
    depths: tuple[int, ...] = (12, 13, 14)
    classes: int = 1000
    patch: int = 16
    reach: int = 14
    drop_path: float = 0.1
    bias_layout: BiasLayout = "autoformer"

    def __post_init__(self) -> None:
        need_blocks("depths", self.depths)

    @cached_property
    def space(self) -> SearchSpace:
        """Embedding width, depth, and per block heads and MLP ratio."""
        choices = [Choice("embed", self.embed_dims), Choice("depth", self.depths)]
        for i in range(self.depths[-1]):
            needs = from_count("depth", self.depths, i)
            choices.append(Choice(f"blocks.{i}.heads", self.head_counts, needs))
            choices.append(Choice(f"blocks.{i}.mlp_ratio", self.mlp_ratios, needs))
        return SearchSpace(tuple(choices))

    def network(self) -> nn.Module:
        """The largest network, freshly initialised (truncated normal, deviation 0.02)."""
        network: nn.Module = VisionTransformer(
            img_size=self.resolution,
            patch_size=self.patch,
            in_chans=self.channels,
            num_classes=self.classes,
            global_pool="avg",
            fc_norm=False,
            embed_dim=self.embed_dim,
            depth=self.depths[-1],
            num_heads=self.heads,
            mlp_ratio=self.mlp_ratio,
            drop_path_rate=self.drop_path,
            norm_layer=partial(nn.LayerNorm, eps=1e-5),
        )
        side = self.resolution // self.patch
        for block in network.get_submodule("blocks").children():
            attention = RelativeAttention(self.embed_dim, self.heads, side, self.reach, self.bias_layout)
            for layer in (attention.qkv, attention.proj):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
            block.attn = attention
        nn.init.trunc_normal_(network.get_parameter("cls_token"), std=0.02)
        return network

    def plan(self, network: nn.Module) -> Plan:
        """The embedding, heads and hidden widths, and the blocks that may be left out."""
        wiring = PlanBuilder(network, self.space)
        embed = wiring.dim("embed", ["embed"], int, "residual", full=self.embed_dim)
        wiring.layer("patch_embed.proj", embed)
        wiring.tensor("cls_token", None, None, embed)
        wiring.tensor("pos_embed", None, None, embed)
        for i in range(self.depths[-1]):
            path = f"blocks.{i}"
            # In AutoFormer's own layout a head's part of the bias moves with the width: heads keep their order.
            kind = "heads" if self.bias_layout == "interleaved" else "tied"
            heads = wiring.dim(f"{path}.heads", [f"{path}.heads"], int, kind, full=self.heads)
            hidden = wiring.dim(
                f"{path}.hidden",
                ["embed", f"{path}.mlp_ratio"],
                lambda width, ratio: int(width * ratio),
                "hidden",
                full=int(self.embed_dim * self.mlp_ratio),
            )
            wiring.norm(f"{path}.norm1", embed)
            wiring.layer(f"{path}.attn.qkv", ((heads, 3 * HEAD_DIM),), embed)
            wiring.layer(f"{path}.attn.proj", embed, ((heads, HEAD_DIM),))
            wiring.norm(f"{path}.norm2", embed)
            wiring.layer(f"{path}.mlp.fc1", hidden, embed)
            wiring.layer(f"{path}.mlp.fc2", embed, hidden)
            if i >= self.depths[0]:
                wiring.switch(path, f"{path}.present", ["depth"], partial(int.__lt__, i))
        wiring.norm("norm", embed)
        wiring.layer("head", None, embed)
        return wiring.plan()

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """The architecture of ``{"layer_num", "embed_dim", "num_heads", "mlp_ratio"}``, lists by block.

        Raises:
            ArchitectureError: for a missing key, a list of another length or a value outside the space.
        """
        depth, most = asked(config, "layer_num"), self.depths[-1]
        if depth not in self.depths:
            raise ArchitectureError(f"'layer_num' is {depth!r}; it can be one of {self.depths}")
        widths = asked(config, "embed_dim", depth, most)
        if len(set(widths[:depth])) > 1:
            raise ArchitectureError(f"'embed_dim' holds {sorted(set(widths))}; all blocks share one width")
        values: dict[str, Any] = {"embed": widths[0], "depth": depth}
        heads, ratios = asked(config, "num_heads", depth, most), asked(config, "mlp_ratio", depth, most)
        for i in range(depth):
            values |= {f"blocks.{i}.heads": heads[i], f"blocks.{i}.mlp_ratio": ratios[i]}
        return self.space.encode(values)

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """``{"layer_num", "embed_dim", "num_heads", "mlp_ratio"}``."""
        values = self.space.decode(arch)
        depth = int(values["depth"])
        return {
            "layer_num": depth,
            "embed_dim": [values["embed"]] * depth,
            "num_heads": [values[f"blocks.{i}.heads"] for i in range(depth)],
            "mlp_ratio": [values[f"blocks.{i}.mlp_ratio"] for i in range(depth)],
        }

    def rename(self, name: str) -> str | None:
        """The tensor's name in timm's ViT."""
        name = name.replace("patch_embed_super.", "patch_embed.")
        name = name.replace("attn_layer_norm.", "norm1.").replace("ffn_layer_norm.", "norm2.")
        return re.sub(r"^(blocks\.\d+)\.(fc\d)\.", r"\1.mlp.\2.", name)


@presets.register("autoformer_small")
@dataclass(frozen=True)
class AutoFormerSmall(AutoFormerTiny):
    """AutoFormer-S: 34.79 M shared parameters."""

    embed_dim: int = 448
    heads: int = 7
    embed_dims: tuple[int, ...] = (320, 384, 448)
    head_counts: tuple[int, ...] = (5, 6, 7)
    mlp_ratios: tuple[float, ...] = (3.0, 3.5, 4.0)


@presets.register("autoformer_base")
@dataclass(frozen=True)
class AutoFormerBase(AutoFormerTiny):
    """AutoFormer-B: 80.16 M shared parameters."""

    embed_dim: int = 640
    heads: int = 10
    embed_dims: tuple[int, ...] = (528, 576, 624)
    head_counts: tuple[int, ...] = (9, 10)
    mlp_ratios: tuple[float, ...] = (3.0, 3.5, 4.0)
    depths: tuple[int, ...] = (14, 15, 16)


@presets.register("prenas_tiny")
@dataclass(frozen=True)
class PreNASTiny(AutoFormerTiny):
    """AutoFormer-T's space, the bias interleaved like the weight; PreNAS trains preferred subnets only."""

    bias_layout: BiasLayout = "interleaved"


@presets.register("prenas_small")
@dataclass(frozen=True)
class PreNASSmall(AutoFormerSmall):
    """AutoFormer-S' space with the bias interleaved like the weight."""

    bias_layout: BiasLayout = "interleaved"


@presets.register("prenas_base")
@dataclass(frozen=True)
class PreNASBase(AutoFormerBase):
    """AutoFormer-B's space with the bias interleaved like the weight."""

    bias_layout: BiasLayout = "interleaved"
