"""How alike the gradients of different examples are: large and steady ones learn fast, and carry over.

Source: Li et al., ZiCo, arXiv:2301.11300.
"""

from __future__ import annotations

from math import log

import torch

from predictors.zero_cost.candidate import Candidate, ScoreError, scores

PARTS = 2
"""That the batch is cut into."""


@scores.register("zico")
def zico(candidate: Candidate) -> float:
    """Over all weight tensors, the logarithm of the sum of ``mean |gradient| / its deviation`` between parts."""
    if candidate.inputs.batch < 2 * PARTS:
        raise ScoreError(f"zico compares {PARTS} parts of a batch; give {2 * PARTS} examples or more")
    parts = zip(*(candidate.part(i, PARTS).slopes() for i in range(PARTS)))
    found = 0.0
    for slopes in parts:
        each = torch.stack(slopes).double()
        spread = each.std(0, unbiased=False)
        moves = spread > 0
        steadiness = float((each.abs().mean(0)[moves] / spread[moves]).sum())
        found += log(steadiness) if steadiness > 0 else 0.0
    return found
