"""A network: every pixel is classified by itself."""

from __future__ import annotations

from torch import nn


def per_pixel(*, classes: int, channels: int, width: int = 24) -> nn.Module:
    """Two convolutions of one pixel.

    Args:
        classes: of every pixel.
        channels: of the images.
        width: channels between them.
    """
    return nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU(), nn.Conv2d(width, classes, 1))
