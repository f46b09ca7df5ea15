"""How much of the gradient rests on the weights: what its squared length would lose without them, to first order.

Source: Wang et al., GraSP, arXiv:2002.07376; as a score of networks in arXiv:2101.08134.
"""

from __future__ import annotations

import torch

from predictors.zero_cost.candidate import Candidate, scores


@scores.register("grasp")
def grasp(candidate: Candidate) -> float:
    """The sum of ``-weight * (Hessian gradient)``; the Hessian is never formed."""
    slopes = candidate.slopes(differentiable=True)
    along = torch.stack([(slope * slope.detach()).sum() for slope in slopes]).sum()
    bends = torch.autograd.grad(along, candidate.weights, allow_unused=True, materialize_grads=True)
    return -sum(float((weight.detach() * bend).sum()) for weight, bend in zip(candidate.weights, bends))
