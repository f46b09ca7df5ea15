"""Labels and teachers, apart and mixed."""

from __future__ import annotations

import torch

from supernet.losses import label_loss, lesson_loss, teacher_loss

LOGITS, TEACHER = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def test_the_teacher_loss_is_cross_entropy_less_the_entropy_of_the_teacher() -> None:
    answers = TEACHER.softmax(1)
    cross = -(answers * LOGITS.log_softmax(1)).sum(1).mean()
    entropy = -(answers * answers.log()).sum(1).mean()
    torch.testing.assert_close(teacher_loss(LOGITS, TEACHER), cross - entropy)


def test_agreeing_with_the_teacher_costs_nothing() -> None:
    torch.testing.assert_close(teacher_loss(TEACHER + 3, TEACHER), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_no_gradient_reaches_the_teacher() -> None:
    pupil, teacher = LOGITS.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    lesson_loss(pupil, LABELS, teacher, trust=0.5).backward()
    assert teacher.grad is None and pupil.grad is not None


def test_trust_mixes_the_two_losses() -> None:
    labels, teacher = label_loss(LOGITS, LABELS, 0.1), teacher_loss(LOGITS, TEACHER)
    torch.testing.assert_close(
        lesson_loss(LOGITS, LABELS, TEACHER, 0.25, 0.1), 0.75 * labels + 0.25 * teacher
    )
    torch.testing.assert_close(lesson_loss(LOGITS, LABELS, TEACHER, 0.0, 0.1), labels)
    torch.testing.assert_close(lesson_loss(LOGITS, LABELS, None, 0.5, 0.1), labels)
