"""How unlike each other some rows are: of one matrix of correlations, a number."""

from __future__ import annotations

import torch
from torch import Tensor

from predictors.zero_cost.candidate import ScoreError

TINY = 1e-5
"""Added to every eigenvalue, as published."""


def unlikeness(rows: Tensor) -> float:
    """``-sum(log(v + k) + 1 / (v + k))`` over the eigenvalues of the correlations; greatest for independent rows.

    Source: Mellor et al., arXiv:2006.04647v1.

    Args:
        rows: one for each example ``(examples, columns)``.

    Raises:
        ScoreError: for a single example, or a row in which every number is the same.
    """
    if len(rows) < 2:
        raise ScoreError("a single example is like nothing else; give a batch of two or more")
    rows = rows.detach().double()
    centred = rows - rows.mean(1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    if not bool((length > 0).all()):
        raise ScoreError("an example has the same number everywhere, so nothing correlates with it")
    unit = centred / length
    values = torch.linalg.eigvalsh(unit @ unit.T).clamp(min=0) + TINY
    return -float((values.log() + 1 / values).sum())
