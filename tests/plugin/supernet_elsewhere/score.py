"""A zero-cost score: how many layers there are."""

from __future__ import annotations

from predictors.zero_cost.candidate import Candidate


def layers(candidate: Candidate) -> float:
    """Weights of two or more axes."""
    return float(len(candidate.weights))
