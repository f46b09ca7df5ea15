"""How much flows through all paths of a network, whatever the data: weights are taken positive, the input is ones.

Source: Tanaka et al., SynFlow, arXiv:2006.05467. Norms are left out, as they would undo the sizes that are asked for
(so in arXiv:2101.08134). The logarithm is ours: the sum is a product over layers, and ranks the same.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from predictors.zero_cost.candidate import Candidate, ScoreError, scores
from supernet.tasks.task import main_tensor

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)


@scores.register("synflow")
def synflow(candidate: Candidate) -> float:
    """The logarithm of the sum of ``weight * gradient of everything that comes out``."""
    flow = sum(float(layer.sum()) for layer in flows(candidate))
    if not flow:
        raise ScoreError("no path of the network carries anything from its input to its answer")
    return log(flow)


def flows(candidate: Candidate) -> list[Tensor]:
    """``weight * gradient`` for every weight, from zero up; in a plain chain of layers, each adds up to the same."""
    network = without_norms(candidate.network).double()
    with torch.no_grad():
        for each in (*network.parameters(), *network.buffers()):
            if each.is_floating_point():
                each.abs_()
    ones = candidate.inputs.map(lambda tensor: torch.ones_like(tensor[:1], dtype=_double(tensor)))
    out = main_tensor(ones.call(network)).sum()
    slopes = torch.autograd.grad(out, candidate.weights, allow_unused=True, materialize_grads=True)
    return [(weight * slope).detach() for weight, slope in zip(candidate.weights, slopes)]


def without_norms(network: nn.Module) -> nn.Module:
    """The same network with every norm out of it, changed in place; the activation that timm puts into one stays."""
    for path, norm in [*network.named_modules()]:
        if isinstance(norm, NORMS):
            network.set_submodule(path, getattr(norm, "act", None) or nn.Identity())
    return network


def _double(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.is_floating_point() else tensor.dtype
