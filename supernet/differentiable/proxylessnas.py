"""ProxylessNAS (Cai et al., arXiv:1812.00332): one candidate runs, yet all logits have their gradient.

The gradient of the gate of a candidate is the inner product of its answer with the gradient of the mixture. The
candidates that did not run are asked in the backward pass, one at a time and without a graph, so that a step needs the
memory of one path. (This is the reference's ``full_v2``; its paper draws two paths instead.) Latency is added as an
expectation over the probabilities, see `supernet.elastic.expectation`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from supernet.differentiable.method import Logits, Method, hard, methods, softmax, weighed
from supernet.elastic.relaxation import Relaxable, Relaxation
from supernet.space import Architecture


@methods.register("proxylessnas")
@dataclass(frozen=True)
class ProxylessNASMethod(Method):
    """Binary gates, drawn by the probabilities of a softmax."""

    def relaxation(self, relaxable: Relaxable, logits: Logits, arch: Architecture) -> Relaxation:
        """One candidate of every choice; the others only answer for their gates."""
        return weighed(relaxable, logits, arch, gate, torch.ones_like)

    def mean(self, relaxable: Relaxable, logits: Logits, arch: Architecture) -> Relaxation:
        """The probabilities."""
        return weighed(relaxable, logits, arch, softmax, torch.ones_like)


def gate(logits: Tensor) -> Tensor:
    """A one among zeros, with the gradient of the probabilities."""
    soft = logits.softmax(0)
    return hard(soft, torch.multinomial(soft.detach(), 1)[0])
