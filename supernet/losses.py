"""What a lesson learns from: the labels, and once it can teach, another subnet of the same supernet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Distance = Callable[[Tensor, Tensor], Tensor]
"""How far logits ``(batch, classes, ...)`` are from a teacher's, as a scalar; no gradient reaches the teacher."""


def label_loss(
    logits: Tensor, labels: Tensor, smoothing: float = 0.0, class_weights: Sequence[float] | None = None
) -> Tensor:
    """Cross-entropy with the labels, averaged over everything that is labelled.

    Args:
        logits: ``(batch, classes, ...)``.
        labels: ``(batch, ...)``, or the share of every class, of the shape of the logits.
        smoothing: share of the label mass spread over all classes.
        class_weights: by class; the average is then weighted by those of the labels.
    """
    if class_weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    weights = torch.tensor(class_weights, dtype=logits.dtype, device=logits.device)
    loss = F.cross_entropy(logits, labels, weights, label_smoothing=smoothing)
    if not labels.is_floating_point():
        return loss
    # of shares PyTorch divides by their number, of labels by their weights
    mass = (labels.movedim(1, -1) * weights).sum()
    return loss * (labels.numel() / labels.shape[1]) / mass


def divergence(logits: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the teacher's answers, averaged over everything that is answered.

    No gradient reaches the teacher (in-place distillation, arXiv:1903.05134).

    Args:
        logits: of the pupil, ``(batch, classes, ...)``.
        teacher: logits of the teacher, likewise.
    """
    answers = F.log_softmax(teacher.detach(), dim=1)
    found = F.kl_div(F.log_softmax(logits, dim=1), answers, reduction="none", log_target=True)
    return found.sum(1).mean()


@dataclass(frozen=True)
class AlphaDivergence:
    """The larger of two clipped alpha-divergences from the teacher's answers, example by example.

    Kullback-Leibler (alpha 1) forgives a pupil who is surer than the teacher; a negative alpha forgives one who is
    less sure. Taking the larger one forgives neither (AlphaNet, arXiv:2102.07954).

    The value is the surrogate whose gradient is that of the divergence with the importance weights held fixed,
    not the divergence itself; only alpha 1 is not clipped, as published.

    Args:
        alphas: neither may be 0.
        clip: bound on the importance weights ``(teacher / pupil) ** alpha``.
    """

    alphas: tuple[float, float] = (-1.0, 1.0)
    clip: float = 5.0

    def __call__(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """Averaged over everything that is answered.

        Args:
            logits: of the pupil, ``(batch, classes, ...)``.
            teacher: logits of the teacher, likewise.
        """
        ours, theirs = F.log_softmax(logits, dim=1), F.log_softmax(teacher.detach(), dim=1)
        (one, taught_by_one), (other, taught_by_other) = (
            self._divergence(ours, theirs, alpha) for alpha in self.alphas
        )
        return torch.where(one > other, taught_by_one, taught_by_other).mean()

    def _divergence(self, ours: Tensor, theirs: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        """The divergence and its surrogate, ``(batch, ...)`` each, from log-probabilities."""
        fixed = ours.detach()
        if alpha == 1:
            return (theirs.exp() * (theirs - fixed)).sum(1), -(theirs.exp() * ours).sum(1)
        weights = (alpha * (theirs - fixed)).exp().clamp(max=self.clip)
        offset = 1 / (alpha * (alpha - 1))
        found = (fixed.exp() * (weights - 1) * offset).sum(1)
        return found, -(fixed.exp() * (weights / alpha + offset) * ours).sum(1)
