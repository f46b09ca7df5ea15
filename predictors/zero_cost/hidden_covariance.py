"""How unlike the hidden states of different sequences are, of recurrent networks and transformers.

Source: Serianni and Kalita, arXiv:2306.00288. The state of a recurrent network is what its last recurrent layer answers
to the last token, that of a transformer what its last layer is given, the mean over tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from predictors.zero_cost.candidate import Candidate, ScoreError, scores
from predictors.zero_cost.correlation import unlikeness


@scores.register("hidden_covariance")
def hidden_covariance(candidate: Candidate) -> float:
    """`unlikeness` of the hidden states of the examples."""
    states = _hidden(candidate)
    return unlikeness(states.flatten(1, -2).mean(1) if states.dim() > 2 else states)


@torch.no_grad()
def _hidden(candidate: Candidate) -> Tensor:
    recurrent, linear = candidate.modules(nn.RNNBase), candidate.modules(nn.Linear)
    attends = any("attention" in type(module).__name__.lower() for module in candidate.network.modules())
    found: list[Tensor] = []
    if recurrent:
        last = [*recurrent.values()][-1]
        first = getattr(last, "batch_first", False)
        last.register_forward_hook(
            lambda module, given, out: found.append(out[0][:, -1] if first else out[0][-1])
        )
    elif attends and linear:
        [*linear.values()][-1].register_forward_pre_hook(lambda module, given: found.append(given[0]))
    else:
        raise ScoreError(
            "hidden_covariance is of hidden states, and the network has neither a recurrent layer nor attention"
        )
    candidate.answer()
    return found[-1]
