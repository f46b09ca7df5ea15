"""PC-DARTS (Xu et al., arXiv:1907.05737): DARTS with weights on edges, which make partial channels stable.

Which channels work is the network's matter: ``presets["darts"](share=4)``.
"""

from __future__ import annotations

from dataclasses import dataclass

from supernet.differentiable.method import Logits, Method, methods, softmax, weighed
from supernet.elastic.relaxation import Relaxable, Relaxation
from supernet.space import Architecture


@methods.register("pc_darts")
@dataclass(frozen=True)
class PCDARTSMethod(Method):
    """A softmax over the candidates of an edge, and one over the edges of a node (edge normalisation)."""

    def relaxation(self, relaxable: Relaxable, logits: Logits, arch: Architecture) -> Relaxation:
        """All candidates of all edges."""
        return weighed(relaxable, logits, arch, softmax, softmax)

    mean = relaxation
