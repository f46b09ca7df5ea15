"""How steep the loss is: the lengths of its gradients, added up.

Source: Abdelfattah et al., arXiv:2101.08134.
"""

from __future__ import annotations

from predictors.zero_cost.candidate import Candidate, scores


@scores.register("grad_norm")
def grad_norm(candidate: Candidate) -> float:
    """The Euclidean length for every weight tensor, their sum."""
    return sum(float(slope.norm()) for slope in candidate.slopes())
