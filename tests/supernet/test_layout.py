"""How maps lie in memory while a network learns or is judged."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.layers.pool2d_same import AvgPool2dSame
from timm.models.inception_v3 import InceptionA
from torch import nn

from supernet.elastic.supernet import Supernet
from supernet.evaluate import layout_of
from supernet.presets import NASBench201
from supernet.presets.attentivenas import PooledShortcut
from tests.tiny import tiny_supernet

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
LISTED: Any = [0, 1]
CELLS = NASBench201(cells=1, widths=(4, 8), channels=1, classes=10, resolution=16)


@pytest.mark.parametrize(
    ("make", "on_gpu"),
    [
        (tiny_supernet, torch.channels_last),
        (CELLS.supernet, torch.contiguous_format),  # pools on the average, with padding
    ],
)
def test_maps_have_channels_last_but_where_a_gpu_gets_gradients_of_them_wrong(
    make: type[Supernet], on_gpu: torch.memory_format
) -> None:
    net = make()
    assert layout_of(net, CPU) is torch.channels_last
    assert layout_of(net, GPU) is on_gpu


@pytest.mark.parametrize(
    ("pool", "wrong"),
    [
        (nn.AvgPool2d(3, 1, 0), False),
        (nn.AvgPool2d(3, 1, (0, 0)), False),
        (AvgPool2dSame(3), False),  # pads by itself
        (nn.AvgPool2d(3, 1, 1), True),
        (nn.AvgPool2d(3, 1, (0, 1)), True),
        (nn.AvgPool2d(3, 1, LISTED), True),
        (PooledShortcut(4, 4, 2), True),  # by a function, as the next one
        (InceptionA(8, 4), True),
    ],
)
def test_only_pooling_with_padding_is_wrong(pool: nn.Module, wrong: bool) -> None:
    net = tiny_supernet()
    net.add_module("pool", pool)
    assert layout_of(net, GPU) is (torch.contiguous_format if wrong else torch.channels_last)
