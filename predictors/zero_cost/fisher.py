"""How much of the loss rests on single channels: what it would change by without each of them.

Source: Theis et al., arXiv:1801.05787; Turner et al., BlockSwap, arXiv:1906.04113. Gradients are those of every
example's own loss, so that the score does not depend on how many there are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from predictors.zero_cost.candidate import Candidate, scores
from supernet.features import caught


@scores.register("fisher")
def fisher(candidate: Candidate) -> float:
    """Half the mean over examples of ``(sum over places of activation * gradient)^2``, added up over all channels."""
    layers = candidate.modules(nn.Linear, _ConvNd)
    with caught(candidate.network, layers) as outputs:
        loss = candidate.loss()
    slopes = torch.autograd.grad(loss, list(outputs.values()), allow_unused=True, materialize_grads=True)
    found = 0.0
    for (path, output), slope in zip(outputs.items(), slopes):
        product = output.detach() * slope * len(output)
        rest = _places(product, channels=1 if isinstance(layers[path], _ConvNd) else product.dim() - 1)
        found += 0.5 * float(rest.pow(2).mean(0).sum())
    return found


def _places(product: Tensor, channels: int) -> Tensor:
    """Summed over everything but examples and channels ``(examples, channels)``."""
    return product.movedim(channels, 1).flatten(2).sum(2) if product.dim() > 2 else product
