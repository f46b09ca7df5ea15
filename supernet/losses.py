"""What a lesson learns from: the labels, and once it can teach, another subnet of the same supernet."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def label_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the labels, averaged over everything that is labelled.

    Args:
        logits: ``(batch, classes, ...)``.
        labels: ``(batch, ...)``.
        smoothing: share of the label mass spread over all classes.
    """
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


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
