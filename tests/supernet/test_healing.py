"""Stages of a cut network are held to those of the whole one, where they can be compared."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError
from supernet.features import caught
from supernet.healing import healed_stages, stage_loss
from supernet.options import TrainOptions
from supernet.space import Architecture
from supernet.strategies import Context, Lesson, Shrinking
from supernet.trainer import Trainer
from tests.supernet.strategies.course import few_images, interrupted, small_supernet
from tests.tiny import tiny_supernet

OPTIONS = TrainOptions(
    epochs=2, batch_size=16, warmup=0.0, evaluate_every=9, evaluate_examples=16, calibration_examples=16,
    distil_after=1.0, block_distil_weight=0.5,
)  # fmt: skip


def quiet() -> Supernet:
    net = small_supernet()
    net.largest.dropout = nn.Identity()
    return net


def features(net: Supernet, arch: Architecture, x: Tensor) -> dict[str, Tensor]:
    with caught(net.largest, healed_stages(net.largest)) as found:
        net(x, arch)
    return found


def test_the_stages_are_those_with_weights_before_the_head() -> None:
    assert healed_stages(small_supernet().largest) == ["one", "norm", "two"]
    found = healed_stages(tiny_supernet().largest)
    assert {"conv_stem", "blocks.0", "blocks.1", "blocks.2"} <= set(found) and "classifier" not in found


def test_the_largest_has_nothing_to_learn_from_itself() -> None:
    net, (x, _) = quiet().train(), few_images().batch(0, 16, 0)
    found = features(net, net.space.largest(), x)
    assert found.keys() == {"one", "norm", "two"}
    assert stage_loss(found, found) == 0
    assert not net.largest.two._forward_hooks, "nothing is caught any more"


def test_a_narrower_stage_is_compared_with_what_is_left_of_the_wider_one() -> None:
    net, (x, _) = quiet().train(), few_images().batch(0, 16, 0)
    whole, cut = (features(net, arch, x) for arch in (net.space.largest(), net.space.smallest()))
    expected = [
        F.mse_loss(cut[path], whole[path][:, : cut[path].shape[1]])
        / whole[path][:, : cut[path].shape[1]].var()
        for path in cut
    ]
    assert stage_loss(cut, whole) > 0 and torch.isclose(stage_loss(cut, whole), torch.stack(expected).mean())
    stage_loss(cut, whole).backward()
    assert net.largest.two.weight.grad is not None and net.largest.head.weight.grad is None
    assert net.largest.two.weight.grad[:8].any() and not net.largest.two.weight.grad[8:].any()


def test_stages_of_other_positions_are_left_out() -> None:
    tokens, maps = torch.randn(2, 5, 8), torch.randn(2, 8, 4, 4)
    assert stage_loss({"a": tokens[:, :3]}, {"a": tokens}) == 0
    assert stage_loss({"a": maps[..., :2, :2]}, {"a": maps}) == 0
    assert stage_loss({"a": maps[:, :4, :2, :2]}, {"a": maps}) == 0
    assert stage_loss({"a": tokens[..., :4] + 1, "b": maps}, {"a": tokens}) > 0


@dataclass(frozen=True)
class _Pair:
    """The largest, and the smallest taught by it."""

    def lessons(self, context: Context) -> list[Lesson]:
        return [Lesson(context.space.largest()), Lesson(context.space.smallest(), teacher=0)]


def test_a_step_adds_the_loss_of_the_stages_to_that_of_the_labels() -> None:
    ours, net = quiet(), quiet().train()
    with pytest.raises(KeyboardInterrupt):
        Trainer(ours, few_images(), OPTIONS, strategy=_Pair()).run(interrupted(1))
    x, labels = few_images().batch(0, 16, OPTIONS.seed)
    total, seen = torch.zeros(()), []
    for arch in (net.space.largest(), net.space.smallest()):
        with caught(net.largest, healed_stages(net.largest)) as found:
            total = total + F.cross_entropy(net(x, arch), labels, label_smoothing=OPTIONS.label_smoothing)
        seen.append(found)
    (total + 0.5 * stage_loss(seen[1], seen[0])).backward()
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight.grad, net.get_parameter(name).grad, atol=1e-5, rtol=1e-4)


def test_the_stages_of_a_fine_tuned_teacher_are_learnt_from_too() -> None:
    options = replace(OPTIONS, teacher="finetuned", teacher_epochs=1)
    with_, without = (
        Trainer(quiet(), few_images(), replace(options, block_distil_weight=weight), strategy=_Pair())
        for weight in (0.5, 0.0)
    )
    with_.run()
    without.run()
    assert with_.record.spent["teacher"] > without.record.spent["teacher"], "asked from the first step on"
    assert not torch.equal(with_.supernet.largest.two.weight, without.supernet.largest.two.weight)


def test_stages_that_can_not_be_compared_are_refused() -> None:
    with pytest.raises(ConfigError, match="not be compared unit by unit; choose largest or finetuned"):
        replace(OPTIONS, teacher="weights.pth")
    with pytest.raises(ConfigError, match="sorts units, and those of a fine-tuned teacher stay"):
        Trainer(quiet(), few_images(), replace(OPTIONS, teacher="finetuned"), strategy=Shrinking())
