"""RC-DARTS (Jin et al., arXiv:1912.12814): DARTS whose logits are brought back below a bound on the cost.

After every step the logits move to the nearest ones whose expected cost is at most the bound. The nearest point fulfils
``logits - wanted + factor * gradient of the cost = 0`` at a cost that equals the bound; it is found by solving that for
the cost's linear part again and again, in steps that bring it nearer. (The paper descends the Lagrangian for some steps
instead, and has a bound for each level of the network; here it is one.)

The bound holds for the mean over the softmax. The architecture it leans to is near it, not below it by construction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from supernet.differentiable.bilevel import filled
from supernet.differentiable.method import Logits, Method, methods, softmax, weighed
from supernet.elastic.relaxation import Relaxable, Relaxation
from supernet.errors import ConfigError
from supernet.options import within
from supernet.space import Architecture

ROUNDS = 60
REACH = 1.0
"""The longest move in a round: far away the linear part says little."""
LEAST = 1e-3
"""The shortest part of a move that is tried."""


@methods.register("rc_darts")
@dataclass(frozen=True)
class RCDARTSMethod(Method):
    """A softmax over the candidates, projected onto a bound of the cost.

    Args:
        bound: on the expected multiply-adds, as a share of those of the largest architecture.

    Raises:
        ConfigError: for a bound that is not above 0.
    """

    bound: float = 0.5
    costs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        within("bound", self.bound, 1e-6)

    def relaxation(self, relaxable: Relaxable, logits: Logits, arch: Architecture) -> Relaxation:
        """All candidates."""
        return weighed(relaxable, logits, arch, softmax, torch.ones_like)

    mean = relaxation

    def after_step(self, logits: Logits, cost: Callable[[Logits], Tensor]) -> None:
        """Move the logits to the nearest ones within the bound."""
        project(logits, cost, self.bound)


def project(logits: Logits, cost: Callable[[Logits], Tensor], bound: float) -> None:
    """Move logits, in place, to the nearest ones whose cost is at most a bound.

    Args:
        logits: leaves that require gradients.
        cost: of logits, differentiable.
        bound: in the unit of the cost.

    Raises:
        ConfigError: when no logits near by are that cheap.
    """
    leaves = list(logits.values())
    here = wanted = torch.cat([one.detach().flatten() for one in leaves])
    close, price = float(torch.finfo(wanted.dtype).eps ** 0.5) / 10, 0.0
    value, slope = _at(leaves, here, logits, cost)
    if value <= bound:
        return
    for _ in range(ROUNDS):
        excess = value - bound
        factor = max(float((excess + slope @ (wanted - here)) / (slope @ slope).clamp_min(1e-30)), 0.0)
        move = wanted - factor * slope - here
        if excess <= close * bound and float(move.norm()) <= close * (1 + float(wanted.norm())):
            return
        price = max(price, 2 * factor)
        drop = float((here - wanted) @ move) - price * max(excess, 0.0)
        worth, length = _merit(here - wanted, excess, price), min(1.0, REACH / float(move.norm()))
        while True:
            value, slope = _at(leaves, here + length * move, logits, cost)
            gained = worth - _merit(here + length * move - wanted, value - bound, price)
            if gained >= -1e-4 * length * drop or length < LEAST:
                break
            length /= 2
        here = here + length * move
    if value > bound * 1.001:
        raise ConfigError(
            f"no logits near by cost {bound:g} of the largest architecture: {ROUNDS} rounds reached {value:.4g}; "
            "give a larger bound in method_options"
        )


def _merit(moved: Tensor, excess: float, price: float) -> float:
    """What a point is worth, the less the better: how far it moved, and what lies above the bound at a price."""
    return float(moved @ moved) / 2 + price * max(excess, 0.0)


def _at(
    leaves: list[Tensor], flat: Tensor, logits: Logits, cost: Callable[[Logits], Tensor]
) -> tuple[float, Tensor]:
    """The cost and its gradient when the logits are these numbers, which they are from now on."""
    with torch.no_grad():
        for leaf, part in zip(leaves, torch.split(flat, [leaf.numel() for leaf in leaves])):
            leaf.copy_(part.view_as(leaf))
    value = cost(logits)
    slopes = filled(torch.autograd.grad(value, leaves, allow_unused=True), leaves)
    return float(value.detach()), torch.cat([one.flatten() for one in slopes])
