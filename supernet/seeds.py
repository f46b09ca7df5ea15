"""Randomness that arrives: generators derived from a seed and from words that say what they are for.

The generator of step 1,000 is made without running the 999 before it, so a run that goes on after a
crash draws what the undisturbed run would have drawn.
"""

from __future__ import annotations

import hashlib
import json
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, *words: str | int) -> int:
    """A seed of 63 bits for one purpose, e.g. ``derive(0, "order", epoch)``; equal in every process."""
    digest = hashlib.sha256(json.dumps([seed, *words]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def rng(seed: int, *words: str | int) -> Random:
    """Python's generator for one purpose."""
    return Random(derive(seed, *words))


def generator(seed: int, *words: str | int) -> torch.Generator:
    """PyTorch's generator for one purpose, on the CPU."""
    import torch

    return torch.Generator().manual_seed(derive(seed, *words))
