"""The smallest training there is: two convolutions of elastic width, on a few digits."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from supernet.data import ImageDataset
from supernet.elastic.elasticise import elasticise
from supernet.elastic.supernet import Supernet
from supernet.options import DataOptions
from supernet.sources import load_data


class Small(nn.Module):
    """Two convolutions with a norm and dropout between, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(1, 12, 3, stride=2)
        self.norm = nn.BatchNorm2d(12)
        self.dropout = nn.Dropout(0.2)
        self.two = nn.Conv2d(12, 16, 3)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Ten logits for grey images of 8 px."""
        x = self.dropout(torch.relu(self.norm(self.one(x))))
        found: Tensor = self.head(torch.relu(self.two(x)).mean((2, 3)))
        return found


def small_network() -> nn.Module:
    """The same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Small().eval()


@lru_cache(maxsize=1)
def _made() -> Supernet:
    return elasticise(small_network(), (2, 1, 8, 8), choices={"hidden": (0.5, 0.75, 1.0)}, divisor=2)


def small_supernet() -> Supernet:
    """A fresh one of them."""
    return deepcopy(_made())


@lru_cache(maxsize=1)
def few_images() -> ImageDataset:
    """Sixteen digits to learn from: one step is an epoch."""
    found = load_data(DataOptions(resolution=8))
    assert isinstance(found, ImageDataset)
    return replace(found, train=found.train.take(torch.arange(16)))


def interrupted(at: int) -> Callable[[int, int, str], None]:
    """Progress that is interrupted after a step."""

    def progress(done: int, total: int, words: str) -> None:
        if done == at:
            raise KeyboardInterrupt

    return progress
