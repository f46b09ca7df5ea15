"""Rank correlation that has a gradient.

Source: Zheng et al., DiffKendall, arXiv:2307.15317. The sign of the true difference is taken as it is; of the predicted
one the hyperbolic tangent, which the sign is the limit of.
"""

from __future__ import annotations

import torch
from torch import Tensor


def soft_kendall(predicted: Tensor, true: Tensor, sharpness: float = 2.0) -> Tensor:
    """Kendall's tau of two rows, as a scalar; tau itself as the sharpness grows, where nothing is tied.

    Args:
        predicted: ``(cases,)``; gradients reach it.
        true: ``(cases,)``.
        sharpness: how soon a difference counts in full, over the unit of what is predicted.
    """
    upper = torch.triu_indices(len(predicted), len(predicted), 1)
    here, there = predicted[upper[0]], predicted[upper[1]]
    order = (true[upper[0]] - true[upper[1]]).sign()
    return (torch.tanh(sharpness * (here - there)) * order).mean()
