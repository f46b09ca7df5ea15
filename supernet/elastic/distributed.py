"""Subnets that leave parameters out, under plain `DistributedDataParallel`.

DDP waits for every parameter to report in the backward pass; those of a block that is left out never
would, and ``find_unused_parameters=True`` walks the graph in every step to find them. Here every
parameter is an input of the last node of the graph, with no gradient: it reports, adds nothing, and
each process may run an architecture of its own. (DDP then gives a parameter that no process used a
gradient of zeros instead of none.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten


class _Reaches(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, out: Tensor, *parameters: Tensor) -> Tensor:
        """The tensor itself, with the parameters among its ancestors."""
        ctx.count = len(parameters)
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """The gradient for the tensor, none for the parameters."""
        return (grads[0], *[None] * ctx.count)


def reaching_all(out: Any, module: nn.Module) -> Any:
    """What a network returned; when processes train together, with every parameter in its graph."""
    if not (
        torch.is_grad_enabled() and torch.distributed.is_available() and torch.distributed.is_initialized()
    ):
        return out
    leaves, structure = tree_flatten(out)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor) and leaf.requires_grad:
            leaves[i] = _Reaches.apply(leaf, *parameters)
            break
    return tree_unflatten(leaves, structure)
