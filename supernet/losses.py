"""What a lesson learns from: the labels, and once it can teach, another subnet of the same supernet."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def label_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the labels, averaged over the batch.

    Args:
        logits: ``(batch, classes)``.
        labels: ``(batch,)``.
        smoothing: share of the label mass spread over all classes.
    """
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def teacher_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the teacher's answers, averaged over the batch.

    No gradient reaches the teacher (in-place distillation, arXiv:1903.05134).

    Args:
        logits: of the pupil, ``(batch, classes)``.
        teacher: logits of the teacher, likewise.
    """
    answers = F.log_softmax(teacher.detach(), dim=1)
    return F.kl_div(F.log_softmax(logits, dim=1), answers, reduction="batchmean", log_target=True)


def lesson_loss(
    logits: Tensor, labels: Tensor, teacher: Tensor | None = None, trust: float = 0.5, smoothing: float = 0.0
) -> Tensor:
    """Labels and teacher, mixed.

    Learning from the teacher alone starves a short run whose teacher knows nothing yet: on digits a
    sketch lost 15 points, and the quickstart's recipe loses 0.6 of its smallest subnet (three seeds).

    Args:
        logits: ``(batch, classes)``.
        labels: ``(batch,)``.
        teacher: the teacher's logits; None for labels only.
        trust: weight of the teacher, the labels have the rest.
        smoothing: as in `label_loss`.
    """
    if teacher is None or trust == 0:
        return label_loss(logits, labels, smoothing)
    return (1 - trust) * label_loss(logits, labels, smoothing) + trust * teacher_loss(logits, teacher)
