"""A differentiable method of another distribution."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from supernet.differentiable.method import Logits, Method, weighed
from supernet.elastic.relaxation import Relaxable, Relaxation
from supernet.space import Architecture


@dataclass(frozen=True)
class Sigmoids(Method):
    """Every candidate has a weight of its own, between zero and one."""

    def relaxation(self, relaxable: Relaxable, logits: Logits, arch: Architecture) -> Relaxation:
        """All candidates."""
        return weighed(relaxable, logits, arch, torch.sigmoid, torch.ones_like)

    mean = relaxation
