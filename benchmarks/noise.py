"""Numbers that come out the same on every machine: weights that need not be stored, for networks that are compared.

A reference's outputs are small, its weights are not. So both sides of a comparison fill their networks
with the same noise: a hash of a tensor's name and of each entry's position, in whole numbers, scaled by
one exactly rounded product.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15


def noise(name: str, shape: Sequence[int]) -> NDArray[np.float32]:
    """Independent and uniform in [-1, 1), of any shape, by SplitMix64 (Steele et al., OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        x = np.arange(1, prod(shape) + 1, dtype=np.uint64) * np.uint64(GOLDEN)
        x += np.uint64(crc32(name.encode())) << np.uint64(32)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    # 24 bits: every value is a float32 without rounding.
    return ((x >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)).reshape(tuple(shape))


def weight(name: str, shape: Sequence[int]) -> Tensor:
    """A parameter or buffer of a network by its name: noise of a size that neither dies out nor explodes."""
    values = noise(name, shape)
    if name.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.int64)
    if name.endswith("running_var"):
        return torch.from_numpy(1 + values / 2)
    if name.endswith("_matrix"):
        return torch.from_numpy(np.eye(len(values), dtype=np.float32) + values / 8)
    if len(shape) > 1:
        return torch.from_numpy(values * np.float32(sqrt(6 / prod(shape[1:]))))
    return torch.from_numpy(values / 4 + np.float32(name.endswith("weight")))
