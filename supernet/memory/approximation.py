"""How far the gradient of an approximate mode is from the plain one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from supernet.elastic.subnet import Subnet
from supernet.elastic.supernet import Supernet
from supernet.memory.modes import Execution
from supernet.probing import fixed_buffers
from supernet.space import Architecture

Loss = Callable[[Subnet], Tensor]
"""From a subnet to its loss on some examples, the same at every call."""


@dataclass(frozen=True)
class Approximation:
    """What the gradient of a subnet in some mode differs in from the plain one.

    Args:
        error: Euclidean norm of the difference over that of the plain gradient, both of the parameters that learn in
            the mode.
        cosine: of the angle between the two.
        untrained: share of the plain gradient, in the Euclidean norm, that is of parameters the mode does not train.
    """

    error: float
    cosine: float
    untrained: float


def approximation(
    supernet: Supernet, arch: Architecture, execution: Execution, loss: Loss, seed: int = 0
) -> Approximation:
    """Compare the gradient of one subnet in a mode with the plain one; nothing is changed by it.

    Args:
        supernet: in training mode.
        arch: which subnet.
        execution: the mode, or modes by module path.
        loss: of that subnet; differentiated once plain and once in the mode.
        seed: of dropout and stochastic depth, the same both times.
    """
    plain, found = (
        _gradient(supernet.subnet(arch, execution=how), loss, seed) for how in ("plain", execution)
    )
    learnt = [name for name in plain if name in found]
    ours, theirs = (torch.cat([of[name].flatten() for name in learnt]).double() for of in (found, plain))
    left = [gradient.norm() for name, gradient in plain.items() if name not in found]
    whole = torch.stack([gradient.norm() for gradient in plain.values()]).norm().item()
    return Approximation(
        error=((ours - theirs).norm() / theirs.norm()).item(),
        cosine=torch.cosine_similarity(ours, theirs, dim=0).item(),
        untrained=torch.stack(left).norm().item() / whole if left else 0.0,
    )


def _gradient(subnet: Subnet, loss: Loss, seed: int) -> dict[str, Tensor]:
    """Of the shared parameters that this subnet learns, by name."""
    parameters = {name: p for name, p in subnet.supernet.largest.named_parameters() if p.requires_grad}
    with torch.random.fork_rng(), fixed_buffers(subnet.supernet):
        torch.manual_seed(seed)
        gradients = torch.autograd.grad(loss(subnet), list(parameters.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(parameters, gradients) if gradient is not None}
