"""DARTS (Liu et al., arXiv:1806.09055): every candidate runs, weighed by a softmax."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from supernet.differentiable.method import Logits, Method, methods, softmax, weighed
from supernet.elastic.relaxation import Relaxable, Relaxation
from supernet.space import Architecture


@methods.register("darts")
@dataclass(frozen=True)
class DARTSMethod(Method):
    """A softmax over the candidates of an edge, ``none`` among them; all edges of a node are summed."""

    def relaxation(self, relaxable: Relaxable, logits: Logits, arch: Architecture) -> Relaxation:
        """All candidates."""
        return weighed(relaxable, logits, arch, softmax, torch.ones_like)

    mean = relaxation
