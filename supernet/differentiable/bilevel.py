"""The gradient of the logits: their loss on data that the weights have not learnt from.

To first order the weights are what they are. To second order they are what one step of gradient descent would make
of them under these logits (DARTS, arXiv:1806.09055, equation 6), whose derivative holds the Hessian of the training
loss: by finite differences, which need gradients only and work with every mode, or exactly, by a graph of the
gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
Loss = Callable[[Weights | None], Tensor]
"""A loss by the weights: as they are, or others in their place. A new graph at every call, of the same draws."""

DISTANCE = 0.01
"""Of the two points of a finite difference, over the norm of the direction."""


def first_order(logits: Sequence[Tensor], search: Loss) -> list[Tensor]:
    """The gradient of the search loss for the weights as they are.

    Args:
        logits: that learn.
        search: loss on the data they learn from.
    """
    return filled(torch.autograd.grad(search(None), logits, allow_unused=True), logits)


def exact(
    logits: Sequence[Tensor], weights: Mapping[str, Tensor], train: Loss, search: Loss, rate: float
) -> list[Tensor]:
    """The gradient of the search loss after one step of the weights, by differentiating through it.

    Args:
        logits: that learn.
        weights: parameters by name.
        train: loss that the step descends.
        search: loss on the data that the logits learn from.
        rate: length of the step.

    Raises:
        RuntimeError: from PyTorch, when something in the network has a first derivative only.
    """
    known = list(weights.values())
    slopes = torch.autograd.grad(train(None), known, create_graph=True, allow_unused=True)
    moved = {
        name: weight if slope is None else weight - rate * slope
        for (name, weight), slope in zip(weights.items(), slopes)
    }
    return filled(torch.autograd.grad(search(moved), logits, allow_unused=True), logits)


def finite(
    logits: Sequence[Tensor], weights: Mapping[str, Tensor], train: Loss, search: Loss, rate: float
) -> list[Tensor]:
    """The same by finite differences: the weights move there and back, two gradients more.

    Args:
        logits: that learn.
        weights: parameters by name; as they were when this returns.
        train: loss that the step descends.
        search: loss on the data that the logits learn from.
        rate: length of the step.
    """
    known = list(weights.values())
    kept = [weight.detach().clone() for weight in known]
    slopes = filled(torch.autograd.grad(train(None), known, allow_unused=True), known)
    try:
        move(known, slopes, -rate)
        both = torch.autograd.grad(search(None), [*logits, *known], allow_unused=True)
        found = filled(both[: len(logits)], logits)
        directions = filled(both[len(logits) :], known)
        reach = DISTANCE / float(torch.stack([d.norm() for d in directions]).norm().clamp_min(1e-12))
        put(known, kept)
        move(known, directions, reach)
        ahead = filled(torch.autograd.grad(train(None), logits, allow_unused=True), logits)
        put(known, kept)
        move(known, directions, -reach)
        behind = filled(torch.autograd.grad(train(None), logits, allow_unused=True), logits)
    finally:
        put(known, kept)
    return [one - rate * (a - b) / (2 * reach) for one, a, b in zip(found, ahead, behind)]


def filled(found: Sequence[Any], like: Sequence[Tensor]) -> list[Tensor]:
    """Gradients, zero where there is none."""
    return [torch.zeros_like(tensor) if one is None else one for one, tensor in zip(found, like)]


@torch.no_grad()
def move(tensors: Sequence[Tensor], by: Sequence[Tensor], factor: float) -> None:
    """Add multiples, in place."""
    for tensor, one in zip(tensors, by):
        tensor.add_(one, alpha=factor)


@torch.no_grad()
def put(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Copy values, in place."""
    for tensor, value in zip(tensors, values):
        tensor.copy_(value)
