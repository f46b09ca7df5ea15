"""The number of parameters: what every other score has to be better than."""

from __future__ import annotations

from predictors.zero_cost.candidate import Candidate, scores


@scores.register("params")
def params(candidate: Candidate) -> float:
    """All of them, those of norms included."""
    return float(sum(each.numel() for each in candidate.network.parameters()))
