"""GDAS (Dong and Yang, arXiv:1910.04465): one candidate per choice, drawn by Gumbel noise; the others do not run.

The gradient of the weight that was drawn goes to all logits through the softmax it was drawn from. Their published code
adds the other weights, which are zero, to the maps as numbers; their gradient is then the sum of that of the
maps, which says nothing of the candidates, so here they have none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from supernet.differentiable.method import Logits, Method, hard, methods, softmax, weighed
from supernet.elastic.relaxation import Relaxable, Relaxation
from supernet.errors import ConfigError
from supernet.space import Architecture


@methods.register("gdas")
@dataclass(frozen=True)
class GDASMethod(Method):
    """One path at a time.

    Args:
        temperature: of the softmax behind a draw.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}; it has to be above 0, e.g. 1.0")

    def relaxation(self, relaxable: Relaxable, logits: Logits, arch: Architecture) -> Relaxation:
        """One candidate of every choice."""
        return weighed(relaxable, logits, arch, self.draw, torch.ones_like, only_active=True)

    def mean(self, relaxable: Relaxable, logits: Logits, arch: Architecture) -> Relaxation:
        """The probabilities."""
        return weighed(relaxable, logits, arch, softmax, torch.ones_like)

    def draw(self, logits: Tensor) -> Tensor:
        """A one among zeros; ``none`` is a candidate like the others."""
        gumbel = -torch.empty_like(logits).exponential_().log()
        soft = ((logits.log_softmax(0) + gumbel) / self.temperature).softmax(0)
        return hard(soft, soft.argmax())
