"""A small network for dense answers: down, and up again beside what was seen on the way."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.networks import networks


@networks.register("unet")
class UNet(nn.Module):
    """Images ``(batch, channels, side, side)`` to a score per class and pixel, after arXiv:1505.04597.

    The side can be any multiple of ``2 ** (levels - 1)``.

    Args:
        classes: scores per pixel.
        channels: of the images.
        widths: channels of each level, from the finest.
        depth: residual blocks of each level on the way down.
        expand: hidden channels of a block over its own.
    """

    def __init__(
        self,
        classes: int = 11,
        channels: int = 1,
        widths: tuple[int, ...] = (16, 32, 48),
        depth: int = 2,
        expand: int = 2,
    ) -> None:
        super().__init__()
        self.stem = convolution(channels, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(*(Residual(width, expand) for _ in range(depth))) for width in widths
        )
        self.shrink = nn.ModuleList(
            convolution(fine, coarse, stride=2) for fine, coarse in itertools.pairwise(widths)
        )
        self.up = nn.ModuleList(
            nn.Sequential(convolution(fine + coarse, fine), Residual(fine, expand))
            for fine, coarse in itertools.pairwise(widths)
        )
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(batch, classes, side, side)``."""
        x, seen = self.stem(x), []
        for i, blocks in enumerate(self.down):
            x = blocks(x)
            if i < len(self.shrink):
                seen.append(x)
                x = self.shrink[i](x)
        for i in reversed(range(len(self.up))):
            x = self.up[i](torch.cat((seen[i], F.interpolate(x, scale_factor=2.0, mode="nearest")), 1))
        out: Tensor = self.head(x)
        return out


def convolution(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    """Three by three, with batch norm and activation."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    )


class Residual(nn.Module):
    """Two convolutions whose answer is added to what came in."""

    def __init__(self, width: int, expand: int) -> None:
        super().__init__()
        self.wide = convolution(width, expand * width)
        self.narrow = nn.Sequential(
            nn.Conv2d(expand * width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(batch, channels, height, width)``."""
        return F.relu(x + self.narrow(self.wide(x)))
