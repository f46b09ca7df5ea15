"""How far the gradient of an approximate mode is from the plain one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from supernet.probing import fixed_buffers

Loss = Callable[[], Tensor]
"""A loss on some examples, the same at every call."""


@dataclass(frozen=True)
class Approximation:
    """What the gradient of a network in some mode differs in from the plain one.

    Args:
        error: Euclidean norm of the difference over that of the plain gradient, both of the parameters that learn in
            the mode.
        cosine: of the angle between the two.
        untrained: share of the plain gradient, in the Euclidean norm, that is of parameters the mode does not train.
    """

    error: float
    cosine: float
    untrained: float


def approximation(network: nn.Module, plain: Loss, found: Loss, seed: int = 0) -> Approximation:
    """Compare the gradient of a loss in a mode with the plain one; nothing is changed by it.

    Args:
        network: whose parameters learn, such as the supernet.
        plain: the loss of it, or of a subnet.
        found: the same loss in the mode, e.g. of ``supernet.subnet(arch, execution="int8")``.
        seed: of dropout and stochastic depth, the same both times.
    """
    exact, near = (_gradient(network, loss, seed) for loss in (plain, found))
    theirs, ours = (
        torch.cat([of[name].flatten() for name in exact if name in near]).double() for of in (exact, near)
    )
    left = torch.stack(
        [torch.zeros(()), *(part.norm().cpu() for name, part in exact.items() if name not in near)]
    )
    whole = torch.stack([part.norm() for part in exact.values()]).norm().item()
    return Approximation(
        error=((ours - theirs).norm() / theirs.norm()).item(),
        cosine=torch.cosine_similarity(ours, theirs, dim=0).item(),
        untrained=left.norm().item() / whole,
    )


def _gradient(network: nn.Module, loss: Loss, seed: int) -> dict[str, Tensor]:
    """Of the parameters that learn, by name."""
    parameters = {name: own for name, own in network.named_parameters() if own.requires_grad}
    with torch.random.fork_rng(), fixed_buffers(network):
        torch.manual_seed(seed)
        gradients = torch.autograd.grad(loss(), list(parameters.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(parameters, gradients) if gradient is not None}
