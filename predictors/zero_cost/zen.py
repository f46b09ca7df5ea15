"""How far a little noise is carried to the last layer, the batch norms on the way taken out of it again.

Source: Lin et al., Zen-NAS, arXiv:2102.01063. Weights are drawn anew from a normal distribution, inputs too: no data.
The last layer is that of the last batch norm; shortcuts stay, which the authors cut.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from predictors.zero_cost.candidate import Candidate, ScoreError, scores
from supernet.features import caught

STEP = 1e-2
REPEATS = 4
"""Pairs of inputs, of which the mean is taken."""


@scores.register("zen")
@torch.no_grad()
def zen(candidate: Candidate) -> float:
    """The logarithm of the mean difference, plus those of the deviations that batch norms divided by."""
    norms = candidate.modules(_BatchNorm)
    if not norms:
        raise ScoreError("zen puts back what batch norms took away, and the network has none")
    if not all(tensor.is_floating_point() for tensor in candidate.inputs.tensors):
        raise ScoreError("zen adds noise to the inputs, and whole numbers such as tokens take none")
    _draw(candidate.network)
    return sum(_one(candidate, norms) for _ in range(REPEATS)) / REPEATS


def _draw(network: nn.Module) -> None:
    for each in network.parameters():
        if each.dim() > 1:
            each.normal_()
    for norm in network.modules():
        if isinstance(norm, _BatchNorm) and norm.affine:
            nn.init.ones_(norm.weight)
            nn.init.zeros_(norm.bias)


def _one(candidate: Candidate, norms: dict[str, nn.Module]) -> float:
    """Of one pair of inputs."""
    noise = candidate.inputs.map(torch.randn_like)
    near = noise.map(lambda tensor: tensor + STEP * torch.randn_like(tensor))
    logs: list[float] = []

    def divided(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        """What one batch norm divides by."""
        variance = given[0].transpose(0, 1).flatten(1).var(1, unbiased=False)
        logs.append(0.5 * log(float(variance.mean()) + 1e-30))

    with caught(candidate.network, norms) as outputs:
        hooks = [norm.register_forward_pre_hook(divided) for norm in norms.values()]
        noise.call(candidate.network)
        for hook in hooks:
            hook.remove()
        last = [*outputs][-1]
        first = outputs[last]
        near.call(candidate.network)
        off = (outputs[last] - first).abs().flatten(1).sum(1).mean()
    return log(float(off) + 1e-30) + sum(logs)
