"""ViT-ResNAS (Liao et al., arXiv:2109.00642): a ViT in three stages with residual spatial reductions.

Per stage an embedding width; per block heads and an MLP width; every second block may be left out.
Written from a description of the published space. Facts (names of tensors, the form of definitions)
are the reference's; none of its code or weights, which may not be used commercially, is part of this.
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
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import PlannedPreset, asked, presets
from supernet.space import Architecture, Choice, SearchSpace

KEPT = (5 / 8, 11 / 16, 3 / 4, 7 / 8, 1)
RATIOS = (1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0)
HEAD_DIMS = (32, 48, 64)
PATCH, END, REDUCTION, BLOCK = 4, 2, 3, 1
"""Kinds of entries in the reference's network definition."""
LENGTHS = {PATCH: 2, BLOCK: 4, REDUCTION: 3, END: 3}
REDUCED = {"patch_reduce": "conv", "token_transform": "token"}
"""What the layers of a reduction are called here."""
Sizes = tuple[int, int, int]
"""Heads, channels of each and hidden width of a block."""


class PatchStem(nn.Module):
    """Images ``(batch, channels, side, side)`` to patches ``(batch, (side / 14)^2, width)``."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = ConvBnAct(channels, 24, 3, stride=2)
        self.conv2 = ConvBnAct(24, 24, 3)
        self.conv3 = ConvBnAct(24, 24, 3)
        self.proj = nn.Conv2d(24, width, 7, 7)

    def forward(self, x: Tensor) -> Tensor:
        """Images to tokens ``(batch, tokens, width)``."""
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
        """Tokens of a grid to those of one half as wide, with a residual around."""
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
        """Images ``(batch, channels, side, side)`` to logits ``(batch, classes)``."""
        tokens = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), self.stem(x)], 1) + self.pos_embed
        out: Tensor = self.head(self.norm(self.stages(tokens)[:, 0]))
        return out


def grid(tokens: Tensor, side: int) -> Tensor:
    """Tokens ``(batch, side^2, width)`` as an image ``(batch, width, side, side)``."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, side, side)


@presets.register("vit_resnas_tiny")
@dataclass(frozen=True)
class ViTResNASTiny(PlannedPreset):
    """ViT-ResNAS-Tiny with several head dimensions (``tiny_mh``).

    MLP widths are multiples of the stage's largest embedding. The residual of a reduction is its
    input before the norm.

    Args:
        widths: embedding of the stored tensors, per stage.
        heads: head counts per stage, of 32, 48 and 64 channels.
        blocks: per stage; every second one is optional, independently of the others.
        classes: of the classifier.

    The resolution has to be a multiple of 56.
    """

    widths: tuple[int, ...] = (256, 512, 1024)
    heads: tuple[tuple[int, ...], ...] = ((3, 4, 5, 6), (6, 8, 10, 12), (6, 8, 10, 12))
    blocks: tuple[int, ...] = (6, 6, 6)
    classes: int = 1000

    def _blocks(self) -> Iterator[tuple[int, int, bool]]:
        """Stage, position in it and whether it may be left out, of every block."""
        for i, count in enumerate(self.blocks):
            yield from ((i, j, j % 2 == 1) for j in range(count))

    @cached_property
    def space(self) -> SearchSpace:
        """Embedding per stage; per block whether it is there, heads and MLP width."""
        choices: list[Choice] = []
        for i, j, optional in self._blocks():
            name, width = f"stages.{i}.{j}", self.widths[i]
            if j == 0:
                choices.append(Choice(f"stages.{i}.width", tuple(int(width * kept) for kept in KEPT)))
            if optional:
                choices.append(Choice(f"{name}.present", (0, 1)))
            needs = (f"{name}.present", (1,)) if optional else None
            choices.append(Choice(f"{name}.heads", self.heads[i], needs))
            choices.append(Choice(f"{name}.mlp", tuple(int(width * ratio) for ratio in RATIOS), needs))
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
        wiring = PlanBuilder(network, self.space)
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
            if optional:
                wiring.switch(path, f"{name}.present", [f"{name}.present"], bool)
        wiring.norm("norm", width)
        wiring.layer("head", None, width)
        return wiring.plan()

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """The architecture of ``{"network_def": ((4, C), (1, (C, heads, dim), (C, ffn), exists), ...)}``.

        A searched network as its authors publish it omits the blocks that are absent. Which they were is
        not said then and makes no difference to the network: the last optional ones of the stage are taken.

        Raises:
            ArchitectureError: for a definition of another network, or a value outside the space.
        """
        stages = _read(asked(config, "network_def"))
        if len(stages) != len(self.widths):
            raise ArchitectureError(
                f"'network_def' holds {len(stages)} stages; this space has {len(self.widths)}"
            )
        values: dict[str, Any] = {}
        for i, (width, blocks) in enumerate(stages):
            values[f"stages.{i}.width"] = width
            for j, block in enumerate(self._placed(i, blocks)):
                name = f"stages.{i}.{j}"
                if j % 2:
                    values[f"{name}.present"] = int(block is not None)
                if block is None:
                    continue
                heads, head_dim, hidden = block
                if head_dim != HEAD_DIMS[i]:
                    raise ArchitectureError(
                        f"block {j} of stage {i} has heads of {head_dim} channels; there they have {HEAD_DIMS[i]}"
                    )
                values |= {f"{name}.heads": heads, f"{name}.mlp": hidden}
        return self.space.encode(values)

    def _placed(self, i: int, blocks: Sequence[tuple[Sizes, bool]]) -> list[Sizes | None]:
        """The blocks of a stage by position, None where an optional one is absent."""
        count, optional = self.blocks[i], range(1, self.blocks[i], 2)
        omitted = count - len(blocks)
        if not 0 <= omitted <= len(optional):
            raise ArchitectureError(
                f"stage {i} of 'network_def' holds {len(blocks)} blocks; this space has {count} there, "
                f"of which {len(optional)} may be omitted"
            )
        absent = [k for k, (_, exists) in enumerate(blocks) if not exists]
        if omitted and absent:
            raise ArchitectureError(
                f"stage {i} of 'network_def' omits {omitted} blocks and marks block {absent[0]} as absent; "
                f"do the one or the other, or its positions are not clear"
            )
        if wrong := [j for j in absent if j not in optional]:
            raise ArchitectureError(
                f"block {wrong[0]} of stage {i} can not be absent; there it can be {', '.join(map(str, optional))}"
            )
        gone = absent or optional[len(optional) - omitted :]
        there = iter([sizes for sizes, exists in blocks if exists])
        return [None if j in gone else next(there) for j in range(count)]

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """``{"network_def": ...}``; blocks that are left out are marked absent and get the smallest sizes."""
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

    def rename(self, name: str) -> str | None:
        """The tensor's name here; None for the heads that only training reads."""
        return _renamed(name, self.blocks)

    def rename_searched(self, name: str, arch: Architecture) -> str | None:
        """The name here of a tensor of a searched network, which counts only the blocks it has."""
        values = self.space.decode(arch)
        there = [sum(f"stages.{i}.{j}.heads" in values for j in range(n)) for i, n in enumerate(self.blocks)]
        return _renamed(name, there)


def _read(definition: Any) -> list[tuple[int, list[tuple[Sizes, bool]]]]:
    """Per stage of a network definition its embedding and its blocks, each with whether it exists.

    Raises:
        ArchitectureError: for an entry of another form, or a width that is not that of its stage.
    """
    stages: list[tuple[int, list[tuple[Sizes, bool]]]] = []
    for k, entry in enumerate(definition):
        kinds = (PATCH,) if k == 0 else (END,) if k == len(definition) - 1 else (BLOCK, REDUCTION)
        if not _well_formed(entry) or entry[0] not in kinds:
            raise ArchitectureError(
                f"entry {k} of 'network_def' is {entry!r}; first comes ({PATCH}, width), then "
                f"({BLOCK}, (width, heads, head dim), (width, hidden), exists) per block and "
                f"({REDUCTION}, width, next width) between stages, at last ({END}, width, classes)"
            )
        if entry[0] == PATCH:
            stages.append((entry[1], []))
            continue
        width, blocks = stages[-1]
        if entry[0] == BLOCK:
            (own, heads, head_dim), (other, hidden) = entry[1:3]
            blocks.append(((heads, head_dim, hidden), bool(entry[3])))
        else:
            own = other = entry[1]
        if (own, other) != (width, width):
            raise ArchitectureError(
                f"entry {k} of 'network_def' is {entry!r}, in a stage whose tokens are {width} wide"
            )
        if entry[0] == REDUCTION:
            stages.append((entry[2], []))
    return stages


def _well_formed(entry: Any) -> bool:
    if not isinstance(entry, Sequence) or not entry or LENGTHS.get(entry[0]) != len(entry):
        return False
    parts = [len(part) if isinstance(part, Sequence) else 0 for part in entry[1:3]]
    return parts == [3, 2] if entry[0] == BLOCK else not any(parts)


def _renamed(name: str, blocks: Sequence[int]) -> str | None:
    """A tensor's name here, when the reference's stages hold that many blocks.

    The reference numbers blocks and reductions through; the heads that only its training reads have no use.
    """
    owner, _, rest = name.partition(".")
    if owner in ("patch_head", "dst_head"):
        return None
    if owner == "blocks":
        number, _, rest = rest.partition(".")
        k = int(number)
        for i, count in enumerate(blocks):
            if k < count:
                return f"stages.{2 * i}.{k}.{rest}"
            if k == count:
                layer, _, tensor = rest.partition(".")
                return f"stages.{2 * i + 1}.{REDUCED.get(layer, layer)}" + (f".{tensor}" if tensor else "")
            k -= count + 1
        return name
    if owner == "patch_embed":
        return "stem." + rest.replace(".bn.", ".bn1.").replace("conv_proj.", "proj.")
    return {"tokens": "cls_token", "cls_head": "head"}.get(owner, owner) + (f".{rest}" if rest else "")


@presets.register("vit_resnas_small")
@dataclass(frozen=True)
class ViTResNASSmall(ViTResNASTiny):
    """ViT-ResNAS-Small with several head dimensions (``small_mh``)."""

    widths: tuple[int, ...] = (320, 640, 1280)
    heads: tuple[tuple[int, ...], ...] = ((5, 6, 7, 8), (10, 12, 14, 16), (10, 12, 14, 16))
    blocks: tuple[int, ...] = (7, 7, 7)
