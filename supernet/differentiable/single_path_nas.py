"""Single-Path NAS (Stamoulis et al., arXiv:1904.02877): a superkernel, whose thresholds say how much of it is used.

The largest kernel holds the smaller ones. What a value adds to the one before it, its shell, is used when the squared
norm of its weights is above a threshold, and the threshold learns: the step has the gradient of a sigmoid. Weights and
thresholds learn from the same batches, and the logarithm of the expected cost is part of the loss.

What differs from the paper: the shell of a width is what the projection reads of it, not the depth-wise
kernels, because that is where a mask leaves exactly the narrow block; and blocks are left out by other choices only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from supernet.differentiable.method import Logits, Memory, Method, methods
from supernet.elastic.relaxation import Relaxable, Relaxation
from supernet.options import within
from supernet.space import Architecture


@methods.register("single_path_nas")
@dataclass(frozen=True)
class SinglePathNASMethod(Method):
    """Thresholds on the norms of shells, of every kernel size and width that one choice sets alone.

    Args:
        weight: of the logarithm of the expected cost in the loss.
    """

    weight: float = 0.1
    one_level: ClassVar[bool] = True
    costs: ClassVar[bool] = True
    about: ClassVar[str] = "a kernel size or width of its own"

    def __post_init__(self) -> None:
        within("weight", self.weight, 0.0)

    def initial(self, relaxable: Relaxable, seed: torch.Generator) -> dict[str, Tensor]:
        """Thresholds, one for each value but the first: zero, so that all of a superkernel is used."""
        blending = relaxable.blending
        return {
            name: torch.zeros(len(blending.values[name]) - 1) for name, of in blending.reads.items() if of
        }

    def relaxation(self, relaxable: Relaxable, logits: Logits, arch: Architecture) -> Relaxation:
        """A one among zeros for every choice: the largest value all of whose shells are used."""
        weights = {name: used(relaxable.blending.shells(name), own) for name, own in logits.items()}
        return Relaxation(weights, arch)

    mean = relaxation

    def burden(self, cost: Tensor, memory: Memory) -> Tensor:
        """The logarithm of the expected cost."""
        return self.weight * cost.log()


def used(norms: Tensor, thresholds: Tensor) -> Tensor:
    """Weights of values from the squared norms of their shells.

    A value is used when its shell and all before it are; the weight of a value is what its use has beyond the next.

    Args:
        norms: ``(values - 1,)``.
        thresholds: likewise.

    Returns:
        ``(values,)``, a one among zeros, with the gradient of sigmoids in the place of steps.
    """
    soft = torch.sigmoid(norms - thresholds)
    steps = (norms > thresholds).to(soft) + (soft - soft.detach())
    reach = torch.cat([steps.new_ones(1), steps.cumprod(0), steps.new_zeros(1)])
    return reach[:-1] - reach[1:]
