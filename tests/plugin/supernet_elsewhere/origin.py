"""A kind of origin: plain perceptrons, by their widths."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from torch import nn


def perceptron(origin: Mapping[str, Any]) -> nn.Module:
    """The network of ``{"elsewhere": "perceptron", "kwargs": {"widths": [6, 12, 4]}}``."""
    layers: list[nn.Module] = []
    for into, out in pairwise(origin["kwargs"]["widths"]):
        layers += [nn.Linear(into, out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
