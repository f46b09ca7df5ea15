"""How differently the answers depend on each example: a network that treats all alike cannot tell them apart.

Source: Mellor et al., arXiv:2006.04647v1.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from predictors.zero_cost.candidate import Candidate, ScoreError, scores
from predictors.zero_cost.correlation import unlikeness


@scores.register("jacobian")
def jacobian(candidate: Candidate) -> float:
    """`unlikeness` of the gradients of the summed answers by each example."""
    if not all(tensor.is_floating_point() for tensor in candidate.inputs.tensors):
        raise ScoreError(
            "jacobian needs the gradient by the inputs, and whole numbers such as tokens have none"
        )
    inputs = candidate.inputs.map(lambda tensor: tensor.detach().clone().requires_grad_())
    answers = replace(candidate, inputs=inputs).answer().sum()
    slopes = torch.autograd.grad(answers, inputs.tensors)
    return unlikeness(torch.cat([slope.flatten(1) for slope in slopes], 1))
