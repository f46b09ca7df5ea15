"""A small causal language model of the Llama kind."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.networks import networks


@networks.register("decoder")
class Decoder(nn.Module):
    """Token ids ``(batch, tokens)`` of any length to logits ``(batch, tokens, vocabulary)``.

    Root-mean-square norms before attention and a gated feed-forward (arXiv:2302.13971), rotary
    positions (arXiv:2104.09864) and queries that share keys and values in groups (arXiv:2305.13245).

    Args:
        vocabulary: tokens there are.
        width: of the residual.
        depth: blocks.
        groups: pairs of keys and values.
        queries: query heads of each group.
        head_dim: entries of a head, even.
        hidden: width of the feed-forward.
    """

    def __init__(
        self,
        vocabulary: int = 256,
        width: int = 96,
        depth: int = 4,
        groups: int = 3,
        queries: int = 2,
        head_dim: int = 16,
        hidden: int = 256,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.blocks = nn.Sequential(*(Block(width, groups, queries, head_dim, hidden) for _ in range(depth)))
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, 0, 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the token that follows each position."""
        logits: Tensor = self.head(self.norm(self.blocks(self.embed(ids))))
        return logits


class Block(nn.Module):
    """Attention, then a gated feed-forward, each added to what came in."""

    def __init__(self, width: int, groups: int, queries: int, head_dim: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.attention = Attention(width, groups, queries, head_dim)
        self.feed = Gated(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(batch, tokens, width)``."""
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.feed(self.norm2(x))
        return out


class Attention(nn.Module):
    """Causal attention in which ``queries`` heads share one pair of keys and values."""

    def __init__(self, width: int, groups: int, queries: int, head_dim: int) -> None:
        super().__init__()
        self.queries, self.head_dim = queries, head_dim
        self.query = nn.Linear(width, groups * queries * head_dim, bias=False)
        self.key = nn.Linear(width, groups * head_dim, bias=False)
        self.value = nn.Linear(width, groups * head_dim, bias=False)
        self.out = nn.Linear(groups * queries * head_dim, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(batch, tokens, width)``."""
        batch, tokens, _ = x.shape
        q, k, v = (
            layer(x).view(batch, tokens, -1, self.head_dim).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        k, v = (each.repeat_interleave(self.queries, 1) for each in (rotated(k), v))
        y = F.scaled_dot_product_attention(rotated(q), k, v, is_causal=True)
        out: Tensor = self.out(y.transpose(1, 2).reshape(batch, tokens, -1))
        return out


class Gated(nn.Module):
    """One half, gated by the other (arXiv:2002.05202)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(batch, tokens, width)``."""
        out: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return out


def rotated(x: Tensor) -> Tensor:
    """Heads ``(batch, heads, tokens, head_dim)``, each pair of entries turned by its position."""
    half = x.shape[-1] // 2
    speed = 10000.0 ** (-torch.arange(half, device=x.device, dtype=x.dtype) / half)
    angle = torch.arange(x.shape[-2], device=x.device, dtype=x.dtype)[:, None] * speed
    cos, sin = angle.cos(), angle.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)
