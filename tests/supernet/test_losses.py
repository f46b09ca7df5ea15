"""Labels and teachers, apart and mixed."""

from __future__ import annotations

import pytest
import torch

from supernet.data import class_weights_of
from supernet.errors import ConfigError
from supernet.losses import divergence, label_loss
from supernet.options import DataOptions
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


WEIGHTS = (0.5, 1.0, 2.0, 1.5, 4.0)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_label_is_the_whole_share_of_one_class(smoothing: float, weights: tuple[float, ...] | None) -> None:
    task = ImageClassification(tuple("abcde"), 3, 8, class_weights=weights)
    shares = torch.nn.functional.one_hot(LABELS, 5).float()
    by_label = task.loss(LOGITS, BATCH, smoothing=smoothing)
    torch.testing.assert_close(task.loss(LOGITS, (BATCH[0], shares), smoothing=smoothing), by_label)


def test_a_mixture_of_two_labels_costs_the_mixture_of_their_losses() -> None:
    one, other = (
        torch.nn.functional.one_hot(LABELS, 5).float(),
        torch.nn.functional.one_hot(LABELS.flip(0), 5).float(),
    )
    mixed = label_loss(LOGITS, 0.3 * one + 0.7 * other)
    torch.testing.assert_close(
        mixed, 0.3 * label_loss(LOGITS, LABELS) + 0.7 * label_loss(LOGITS, LABELS.flip(0))
    )


def test_class_weights_move_the_loss_and_not_the_metrics() -> None:
    plain, weighted = TASK, ImageClassification(tuple("abcde"), 3, 8, class_weights=WEIGHTS)
    weights = torch.tensor(WEIGHTS)[LABELS]
    each = -LOGITS.log_softmax(1)[torch.arange(6), LABELS]
    torch.testing.assert_close(weighted.loss(LOGITS, BATCH), (weights * each).sum() / weights.sum())
    assert weighted.metrics(LOGITS, BATCH) == plain.metrics(LOGITS, BATCH)


def test_balanced_classes_weigh_alike_together() -> None:
    weights = class_weights_of(DataOptions(class_weights="balanced"), LABELS, tuple("abcde"))
    assert weights is not None
    together = torch.zeros(5).index_add(0, LABELS, torch.tensor(weights)[LABELS])
    torch.testing.assert_close(together, torch.full((5,), len(LABELS) / 5))


@pytest.mark.parametrize("weights", [(1.0, 2.0), (1.0, 1.0, 1.0, 1.0, 0.0), ()])
def test_weights_that_do_not_fit_the_classes_are_counted(weights: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=rf"class_weights has {len(weights)} values .* 5 classes"):
        class_weights_of(DataOptions(class_weights=weights), LABELS, tuple("abcde"))
