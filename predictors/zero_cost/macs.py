"""Multiply-adds of one example: what every other score has to be better than."""

from __future__ import annotations

from predictors.zero_cost.candidate import Candidate, scores


@scores.register("macs")
def macs(candidate: Candidate) -> float:
    """As the supernet counts them, exactly."""
    return float(candidate.macs())
