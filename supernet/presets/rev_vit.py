"""Reversible transformers and mixers: tokens in two streams.

Reversible ViT (Mangalam et al., CVPR 2022): branch F is the attention of a block, G its MLP. In the mixer (after
MLP-Mixer, arXiv:2105.01601) F is an MLP over the tokens.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import Attention
from torch import Tensor, nn

from supernet.presets.plan_builder import Axis, PlanBuilder
from supernet.presets.preset import presets
from supernet.presets.two_streams import TwoStreamPreset, TwoStreams, both, layers
from supernet.space import Choice


class Patches(nn.Module):
    """Images to tokens with a learned position each."""

    def __init__(self, channels: int, width: int, patch: int, tokens: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, tokens, width))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, height, width)`` to ``(batch, tokens, width)``."""
        out: Tensor = self.proj(x).flatten(2).transpose(1, 2) + self.pos_embed
        return out


class MeanToken(nn.Module):
    """The mean of the tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, tokens, width)`` to ``(batch, width)``."""
        return x.mean(1)


class TokenMLP(nn.Module):
    """An MLP over the tokens, the same for every channel."""

    def __init__(self, width: int, tokens: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1, self.act, self.fc2 = nn.Linear(tokens, hidden), nn.GELU(), nn.Linear(hidden, tokens)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, tokens, width)`` to the same shape."""
        out: Tensor = self.fc2(self.act(self.fc1(self.norm(x).transpose(1, 2)))).transpose(1, 2)
        return out


def channel_mlp(width: int, hidden: int) -> nn.Sequential:
    """A transformer's MLP with the norm before it."""
    return layers(
        norm=nn.LayerNorm(width), fc1=nn.Linear(width, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, width)
    )


@dataclass(frozen=True)
class TokenPreset(TwoStreamPreset):
    """One stage over tokens: an embedding width, a depth in whole blocks, and an MLP ratio per block.

    Args:
        patch: pixels per side.
        mlp_ratios: hidden width of an MLP over the stream's.
    """

    widths: tuple[tuple[int, ...], ...] = ((256, 320, 384),)
    strides: tuple[int, ...] = (1,)
    depths: tuple[int, ...] = (10, 11, 12)
    patch: int = 16
    mlp_ratios: tuple[float, ...] = (3.0, 4.0)

    @property
    def tokens(self) -> int:
        """How many there are."""
        return (self.resolution // self.patch) ** 2

    def network(self) -> nn.Module:
        """The largest network, freshly initialised."""
        width = self.widths[0][-1]
        return TwoStreams(
            Patches(self.channels, width, self.patch, self.tokens),
            [nn.Identity()],
            [self.stage(0)],
            layers(norm=nn.LayerNorm(width), pool=MeanToken(), classifier=nn.Linear(width, self.classes)),
            axis=-1,
        )

    @abstractmethod
    def mixer(self, half: int) -> nn.Module:
        """The largest F, for a stream of so many features."""

    @abstractmethod
    def mixer_choice(self, name: str, needs: tuple[str, tuple[Any, ...]] | None) -> Choice:
        """What can be chosen of an F."""

    @abstractmethod
    def wire_mixer(self, wiring: PlanBuilder, path: str, name: str, half: str) -> None:
        """State the sizes of an F; its stream is as wide as a dim says."""

    def branch(self, half: int, letter: str) -> nn.Module:
        """F is what a preset is about, G an MLP over channels."""
        return self.mixer(half) if letter == "F" else channel_mlp(half, int(half * self.mlp_ratios[-1]))

    def branch_choices(self, name: str, needs: tuple[str, tuple[Any, ...]] | None) -> Iterator[Choice]:
        """That of F, or the ratio of an MLP."""
        if name.endswith("F"):
            yield self.mixer_choice(name, needs)
        else:
            yield Choice(f"{name}.mlp_ratio", self.mlp_ratios, needs)

    def wire_branch(self, wiring: PlanBuilder, path: str, name: str, half: str, width: str) -> None:
        """Both follow the stream's width."""
        if name.endswith("F"):
            self.wire_mixer(wiring, path, name, half)
        else:
            self.wire_mlp(wiring, path, name, half, width)

    def wire_transition(self, wiring: PlanBuilder, i: int) -> None:
        """The embedding makes both streams."""
        wiring.layer("stem.proj", both("stages.0.half"))
        wiring.tensor("stem.pos_embed", None, None, both("stages.0.half"))

    def wire_head(self, wiring: PlanBuilder, features: Axis) -> None:
        """A norm and a classifier."""
        wiring.norm("head.norm", features)
        super().wire_head(wiring, features)

    def wire_mlp(self, wiring: PlanBuilder, path: str, name: str, half: str, width: str) -> None:
        """State the sizes of `channel_mlp`."""
        hidden = wiring.dim(
            f"{name}.hidden",
            [width, f"{name}.mlp_ratio"],
            lambda wide, ratio: int(wide // 2 * ratio),
            "hidden",
        )
        wiring.norm(f"{path}.norm", half)
        wiring.layer(f"{path}.fc1", hidden, half)
        wiring.layer(f"{path}.fc2", half, hidden)


@presets.register("rev_vit")
@dataclass(frozen=True)
class RevViT(TokenPreset):
    """F is attention with an elastic number of heads, G an MLP.

    Args:
        head_counts: per block.
        head_dim: channels of a head.
    """

    head_counts: tuple[int, ...] = (4, 5, 6)
    head_dim: int = 32

    def mixer(self, half: int) -> nn.Module:
        """Attention, with the norm before it."""
        attention = Attention(half, self.head_counts[-1], attn_head_dim=self.head_dim, qkv_bias=True)
        return layers(norm=nn.LayerNorm(half), attn=attention)

    def mixer_choice(self, name: str, needs: tuple[str, tuple[Any, ...]] | None) -> Choice:
        """How many heads."""
        return Choice(f"{name}.heads", self.head_counts, needs)

    def wire_mixer(self, wiring: PlanBuilder, path: str, name: str, half: str) -> None:
        """Heads, on the stream's width."""
        heads = wiring.dim(f"{name}.heads", [f"{name}.heads"], int, "heads")
        wiring.norm(f"{path}.norm", half)
        wiring.attention(f"{path}.attn", half, heads)


@presets.register("rev_mlp")
@dataclass(frozen=True)
class RevMLP(TokenPreset):
    """F is an MLP over tokens, G one over channels.

    Args:
        token_widths: hidden width of the first.
    """

    token_widths: tuple[int, ...] = (128, 192, 256)

    def mixer(self, half: int) -> nn.Module:
        """An MLP over tokens, with the norm before it."""
        return TokenMLP(half, self.tokens, self.token_widths[-1])

    def mixer_choice(self, name: str, needs: tuple[str, tuple[Any, ...]] | None) -> Choice:
        """Its hidden width."""
        return Choice(f"{name}.width", self.token_widths, needs)

    def wire_mixer(self, wiring: PlanBuilder, path: str, name: str, half: str) -> None:
        """The hidden width; only the norm follows the stream's."""
        hidden = wiring.dim(f"{name}.hidden", [f"{name}.width"], int, "hidden")
        wiring.norm(f"{path}.norm", half)
        wiring.layer(f"{path}.fc1", hidden)
        wiring.layer(f"{path}.fc2", None, hidden)
