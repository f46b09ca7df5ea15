"""How much of the loss rests on the weights: what it would change by without each of them, to first order.

Source: Lee et al., SNIP, arXiv:1810.02340; as a score of networks in arXiv:2101.08134.
"""

from __future__ import annotations

from predictors.zero_cost.candidate import Candidate, scores


@scores.register("snip")
def snip(candidate: Candidate) -> float:
    """The sum of ``|weight * gradient|``."""
    pairs = zip(candidate.weights, candidate.slopes())
    return sum(float((weight.detach() * slope).abs().sum()) for weight, slope in pairs)
