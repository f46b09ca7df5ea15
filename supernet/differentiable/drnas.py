"""DrNAS (Chen et al., arXiv:2006.10355): weights are drawn from Dirichlet distributions, whose parameters learn."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence
from torch.nn import functional as F

from supernet.differentiable.method import Logits, Method, methods, weighed
from supernet.elastic.relaxation import Relaxable, Relaxation
from supernet.space import Architecture


@methods.register("drnas")
@dataclass(frozen=True)
class DrNASMethod(Method):
    """All candidates run, by weights that are drawn anew in every step; so are those of edges.

    Args:
        anchor: weight of the divergence from the even distribution, which keeps the search exploring.
    """

    anchor: float = 1e-3

    def relaxation(self, relaxable: Relaxable, logits: Logits, arch: Architecture) -> Relaxation:
        """A draw, whose gradient reaches the logits."""
        return weighed(relaxable, logits, arch, drawn, drawn)

    def mean(self, relaxable: Relaxable, logits: Logits, arch: Architecture) -> Relaxation:
        """The mean of the distributions."""
        return weighed(relaxable, logits, arch, centred, centred)

    def penalty(self, logits: Logits) -> Tensor:
        """How far the distributions are from even ones."""
        far = [kl_divergence(Dirichlet(spread(one)), Dirichlet(spread(one * 0))) for one in logits.values()]
        total: Tensor = self.anchor * sum(far)  # type: ignore[assignment]
        return total


def spread(logits: Tensor) -> Tensor:
    """The parameters of the Dirichlet distribution: positive, and one where a logit is zero."""
    return F.elu(logits) + 1


def drawn(logits: Tensor) -> Tensor:
    """Weights from the distribution; of a lone one there is nothing to draw."""
    if len(logits) == 1:
        return logits.softmax(0)
    draw: Tensor = Dirichlet(spread(logits)).rsample()
    return draw


def centred(logits: Tensor) -> Tensor:
    """The mean of the distribution."""
    return spread(logits) / spread(logits).sum()
