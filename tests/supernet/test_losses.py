"""Labels and teachers, apart and mixed."""

from __future__ import annotations

import pytest
import torch

from supernet.losses import divergence, label_loss
from supernet.tasks.classification import ImageClassification
from supernet.teaching import lesson_loss

LOGITS, TEACHER = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])
TASK = ImageClassification(tuple("abcde"), 3, 8)
BATCH = (torch.zeros(6, 3, 8, 8), LABELS)


def test_the_divergence_is_cross_entropy_less_the_entropy_of_the_teacher() -> None:
    answers = TEACHER.softmax(1)
    cross = -(answers * LOGITS.log_softmax(1)).sum(1).mean()
    entropy = -(answers * answers.log()).sum(1).mean()
    torch.testing.assert_close(divergence(LOGITS, TEACHER), cross - entropy)


def test_agreeing_with_the_teacher_costs_nothing() -> None:
    torch.testing.assert_close(divergence(TEACHER + 3, TEACHER), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_no_gradient_reaches_the_teacher() -> None:
    pupil, teacher = LOGITS.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    lesson_loss(TASK, pupil, BATCH, teacher, 0.5).backward()
    assert teacher.grad is None and pupil.grad is not None


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_the_weight_mixes_the_two_losses(weight: float) -> None:
    labels, teacher = label_loss(LOGITS, LABELS, 0.1), divergence(LOGITS, TEACHER)
    mixed = lesson_loss(TASK, LOGITS, BATCH, TEACHER, weight, 0.1)
    torch.testing.assert_close(mixed, (1 - weight) * labels + weight * teacher)


def test_without_a_teacher_or_its_weight_the_labels_decide() -> None:
    labels = label_loss(LOGITS, LABELS, 0.1)
    torch.testing.assert_close(lesson_loss(TASK, LOGITS, BATCH, TEACHER, 0.0, 0.1), labels)
    torch.testing.assert_close(lesson_loss(TASK, LOGITS, BATCH, None, 0.5, 0.1), labels)
