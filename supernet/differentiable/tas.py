"""TAS (Dong and Yang, arXiv:1905.09717): widths by sampling two of them and interpolating between what they answer.

Two widths of every choice are drawn by Gumbel noise. The layer answers at both, the narrower answer is stretched to the
wider by means over neighbouring channels, and the two are summed by the probabilities they were drawn with, made to sum
to one. Depths likewise: what there is after each of two numbers of blocks is summed. The cost is held near a
target: only what is outside a tolerance adds to the loss, as the logarithm of the expected cost.

What differs from the paper: answers are summed before the norm, which is the wider one's, so that one layer of summed
weights does it; and the network found is not distilled from the largest here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from supernet.differentiable.method import Logits, Memory, Method, methods
from supernet.elastic.relaxation import Relaxable, Relaxation
from supernet.errors import ConfigError
from supernet.options import within
from supernet.space import Architecture


@methods.register("tas")
@dataclass(frozen=True)
class TASMethod(Method):
    """Two values of every width, depth and kernel size that one choice sets alone.

    Args:
        target: of the expected multiply-adds, as a share of those of the largest architecture.
        tolerance: by which share of the target they may miss it.
        weight: of the logarithm of the cost outside of it.
        temperature: of the softmax behind a draw.
        values: that are drawn of every choice.

    Raises:
        ConfigError: for numbers outside their ranges.
    """

    target: float = 0.5
    tolerance: float = 0.05
    weight: float = 2.0
    temperature: float = 1.0
    values: int = 2
    costs: ClassVar[bool] = True
    about: ClassVar[str] = "a width, depth or kernel size of its own"

    def __post_init__(self) -> None:
        within("tolerance", self.tolerance, 0.0)
        within("weight", self.weight, 0.0)
        if self.target <= 0 or self.temperature <= 0 or self.values < 1:
            raise ConfigError(
                f"target is {self.target}, temperature {self.temperature} and values {self.values}; they have to be "
                "above 0, above 0 and at least 1"
            )

    def initial(self, relaxable: Relaxable, seed: torch.Generator) -> dict[str, Tensor]:
        """Logits close to zero for every size."""
        sizes = relaxable.blending.values
        return {name: 1e-3 * torch.randn(len(values), generator=seed) for name, values in sizes.items()}

    def relaxation(self, relaxable: Relaxable, logits: Logits, arch: Architecture) -> Relaxation:
        """A few values of every choice, drawn."""
        weights = {name: self.draw(one) for name, one in logits.items()}
        return Relaxation(weights, arch, only_active=True, blend="interpolated")

    def mean(self, relaxable: Relaxable, logits: Logits, arch: Architecture) -> Relaxation:
        """The probabilities."""
        weights = {name: one.softmax(0) for name, one in logits.items()}
        return Relaxation(weights, arch, only_active=True, blend="interpolated")

    def draw(self, logits: Tensor) -> Tensor:
        """Weights that sum to one, zero but for those of the values that were drawn ``(values,)``."""
        gumbel = -torch.empty_like(logits).exponential_().log()
        soft = ((logits.log_softmax(0) + gumbel) / self.temperature).softmax(0)
        places = soft.topk(min(self.values, len(soft))).indices
        kept = torch.zeros_like(soft).index_fill(0, places, 1) * soft
        return kept / kept.sum()

    def burden(self, cost: Tensor, memory: Memory) -> Tensor:
        """The logarithm of the cost where it is too high, less it where it is too low."""
        if float(cost.detach()) > self.target * (1 + self.tolerance):
            return self.weight * cost.log()
        if float(cost.detach()) < self.target * (1 - self.tolerance):
            return -self.weight * cost.log()
        return cost * 0
