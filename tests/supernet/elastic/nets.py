"""Small networks for the tests of the elastic engine."""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


class Between(nn.Module):
    """Two linear layers with something between them."""

    def __init__(self, between: Callable[[Tensor], Tensor], wide: int = 12, out: int | None = None) -> None:
        super().__init__()
        self.first = nn.Linear(6, wide)
        self.last = nn.Linear(out or wide, 5)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self.first(x)))


class Attention(nn.Module):
    """Attention whose result is shaped by ``attn_dim``, or like its input when that is None."""

    def __init__(self, dim: int = 16, heads: int = 4, attn_dim: int | None = None) -> None:
        super().__init__()
        self.num_heads = heads
        self.attn_dim = attn_dim
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(batch, tokens, 3, self.num_heads, 4).permute(2, 0, 3, 1, 4)
        y = ((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2)
        return x + self.proj(y.reshape(batch, tokens, self.attn_dim or dim))


class Tokens(nn.Module):
    """An embedding, attention blocks and a classifier over ``(batch, 5, 6)``."""

    def __init__(self, attn_dim: int | None = None) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.blocks = nn.Sequential(Attention(attn_dim=attn_dim), Attention(attn_dim=attn_dim))
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.embed(x)).mean(1))


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A network with weights of a seed, in evaluation mode."""
    torch.manual_seed(seed)
    return make().eval()


def small_vit() -> nn.Module:
    """Timm's vision transformer over 32 px with two blocks of four heads."""
    return VisionTransformer(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=4, num_classes=10)


def images(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers of a shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Auxiliary(nn.Module):
    """A convolutional network with a second classifier that only training runs, as GoogLeNet has."""

    def __init__(self, unused: bool = True) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(32, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU())
        self.side = nn.Sequential(nn.Conv2d(32, 24, 1), nn.BatchNorm2d(24), nn.ReLU())
        self.second = nn.Linear(24, 10)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(48, 10)
        self.mask_token = nn.Parameter(torch.zeros(1, 40)) if unused else None

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.stem(x)
        out: Tensor = self.head(self.drop(self.body(x).mean((2, 3))))
        if not self.training:
            return out
        return out, self.second(self.drop(self.side(x).mean((2, 3))))
