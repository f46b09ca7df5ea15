"""How differently activations switch on for each example: those that share every switch are one to the network.

Source: Mellor et al., NASWOT, arXiv:2006.04647, of ReLU. Activations with a bend at zero are read the same way, by the
sign of what goes in. A thousandth on the diagonal is ours: two examples that share every switch would else be minus
infinity.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from predictors.zero_cost.candidate import Candidate, ScoreError, scores

SWITCHES = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.Hardswish, nn.SiLU, nn.GELU)
RIDGE = 1e-3


@scores.register("naswot")
def naswot(candidate: Candidate) -> float:
    """The logarithm of the determinant of how many switches every two examples share."""
    switches = candidate.modules(*SWITCHES)
    if not switches:
        raise ScoreError(
            "naswot counts activations that switch (ReLU, Hardswish, GELU, ...), and there is none"
        )
    shared = torch.zeros(candidate.inputs.batch, candidate.inputs.batch, dtype=torch.float64)

    def count(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        """Of one activation."""
        on = (given[0].detach().flatten(1) > 0).double()
        shared.add_(on @ on.T + (1 - on) @ (1 - on).T)

    for module in switches.values():
        module.register_forward_pre_hook(count)
    with torch.no_grad():
        candidate.answer()
    return float(torch.linalg.slogdet(shared + RIDGE * torch.eye(len(shared))).logabsdet)
