"""Each strategy does what its paper says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError
from supernet.losses import AlphaDivergence
from supernet.options import TrainOptions
from supernet.seeds import rng
from supernet.space import Choice, SearchSpace
from supernet.strategies import (
    Alpha,
    Attentive,
    Context,
    Fair,
    InstaTune,
    Lesson,
    MultiArchitecture,
    Nested,
    Preferred,
    Sandwich,
    Shift,
    Shrinking,
    SinglePath,
    Sort,
    Standalone,
    Strategy,
)
from supernet.strategies.macs import bin_of, near
from supernet.trainer import Trainer
from tests.supernet.strategies.course import few_images, interrupted, small_network, small_supernet
from tests.supernet.strategies.test_strategy_contract import SPACES, course, take
from tests.tiny import tiny_supernet

SPACE = SPACES["conditional"]
OPTIONS = TrainOptions(
    epochs=6, batch_size=16, lr=0.1, warmup=0.0, evaluate_every=6, evaluate_examples=16,
    calibration_examples=16, distil_after=0.0, distil_weight=0.5,
)  # fmt: skip


def gradients(strategy: Strategy, net: Supernet | None = None) -> dict[str, Tensor]:
    """What one step of a training leaves as gradients."""
    net = net or small_supernet()
    with pytest.raises(KeyboardInterrupt):
        Trainer(net, few_images(), OPTIONS, strategy=strategy).run(interrupted(1))
    return {name: weight.grad.clone() for name, weight in net.named_parameters() if weight.grad is not None}


def first_step(net: Supernet, strategy: Strategy) -> list[Lesson]:
    return strategy.lessons(Context(net.space, 0, 6, rng(OPTIONS.seed, "lessons", 0), epochs=6))


def without_drawn_noise() -> Supernet:
    net = small_supernet()
    net.largest.dropout = nn.Identity()
    return net


def test_a_sandwich_adds_up_the_gradients_of_its_lessons() -> None:
    net = without_drawn_noise()
    x, labels = few_images().batch(0, 16, OPTIONS.seed)
    lessons = first_step(net, Sandwich(between=2))
    assert [lesson.arch for lesson in (lessons[0], lessons[-1])] == [
        net.space.largest(),
        net.space.smallest(),
    ]
    net.train()
    total = {name: torch.zeros_like(weight) for name, weight in net.named_parameters()}
    teacher = net(x, lessons[0].arch).detach().log_softmax(1)
    for lesson in lessons:
        net.zero_grad()
        logits = net(x, lesson.arch)
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
        if lesson.teacher is not None:
            far = (teacher.exp() * (teacher - logits.log_softmax(1))).sum(1).mean()
            loss = (loss + far) / 2
        loss.backward()
        for name, weight in net.named_parameters():
            total[name] += weight.grad if weight.grad is not None else 0
    for name, found in gradients(Sandwich(between=2), without_drawn_noise()).items():
        torch.testing.assert_close(found, total[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_strict_fairness_deals_every_value_once_a_round(
    space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    dealt: list[list[int]] = []
    plain = SearchSpace.architecture

    def noted(self: SearchSpace, genes: Any) -> Any:
        dealt.append(list(genes))
        return plain(self, genes)

    monkeypatch.setattr(SearchSpace, "architecture", noted)
    state: dict[str, Any] = {}
    for step in range(6):
        Fair().lessons(course(space, step, state))
    for i, choice in enumerate(space.choices):
        genes, values = [row[i] for row in dealt], len(choice.values)
        rounds = [genes[start : start + values] for start in range(0, len(genes) - values + 1, values)]
        assert rounds and all(sorted(one) == list(range(values)) for one in rounds)


def test_a_single_path_is_uniform_over_genes() -> None:
    drawn = [SinglePath().lessons(course(SPACE, step))[0].arch for step in range(2000)]
    widths = Counter(arch.genes[2] for arch in drawn)
    squares = sum((widths[gene] - 500) ** 2 / 500 for gene in range(4))
    assert squares < 11.34, "chi-square of three degrees of freedom at one percent"


def wide(bins: int, step: int, state: dict[str, Any] | None = None) -> Context:
    """A space of a million, whose costs pile up in the middle when genes are uniform."""
    space = SearchSpace(tuple(Choice(f"width{i}", tuple(range(1, 11))) for i in range(6)))
    return replace(course(space, step, state), macs=lambda genes: 100 + (genes + 1).sum(1) * 50)


def test_a_single_path_is_uniform_over_bins_of_costs() -> None:
    found = Counter(
        bin_of(at, SinglePath(bins=4).lessons(at)[0].arch, 4) for at in (wide(4, step) for step in range(600))
    )
    # what is near an edge may fall on the other side of it
    assert sum((found[i] - 150) ** 2 / 150 for i in range(4)) < 20
    plain = Counter(
        bin_of(at, SinglePath().lessons(at)[0].arch, 4) for at in (wide(4, s) for s in range(600))
    )
    assert sum((plain[i] - 150) ** 2 / 150 for i in range(4)) > 200


@pytest.mark.parametrize("target", [400, 1000, 1750, 2500, 3100])
def test_an_architecture_of_a_given_cost_is_found_within_two_percent(target: int) -> None:
    found = {near(wide(4, step), target) for step in range(20)}
    costs = wide(4, 0).macs(np.array([arch.genes for arch in found]))
    assert np.all(abs(costs - target) <= max(0.02 * target, 25)), "costs come in steps of fifty"
    assert len(found) > 1 or target == 400


def test_attention_takes_the_best_or_the_worst_of_its_candidates() -> None:
    for select, choose in (("best", min), ("worst", max)):
        seen: list[float] = []
        at = course(SPACE, 3)
        watched = replace(at, loss=lambda arch, seen=seen, at=at: seen.append(at.loss(arch)) or seen[-1])
        chosen = Attentive(between=1, candidates=4, select=select, bins=1).lessons(watched)[1]  # type: ignore[arg-type]
        assert len(seen) == 4 and at.loss(chosen.arch) == choose(seen) and len(set(seen)) > 1


def alpha_by_hand(logits: np.ndarray, teacher: np.ndarray, clip: float) -> float:  # type: ignore[type-arg]
    """AlphaNet's surrogate at alphas -1 and 1, as printed."""

    def softmax(x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        e = np.exp(x - x.max())
        return e / e.sum()

    total = 0.0
    for pupil_row, teacher_row in zip(logits, teacher):
        q, p = softmax(pupil_row), softmax(teacher_row)
        r = p / q
        w = np.clip(1 / r, 0, clip)
        f, f0, rho = w / 2, 1 / 2, w / -1 + 1 / 2
        low, low_surrogate = (q * (f - f0)).sum(), -(q * rho * np.log(q)).sum()
        high, high_surrogate = (q * r * np.log(r)).sum(), -(q * r * np.log(q)).sum()
        total += low_surrogate if low > high else high_surrogate
    return float(total / len(logits))


@pytest.mark.parametrize("clip", [5.0, 1.5])
def test_the_loss_of_alphanet_is_its_formula(clip: float) -> None:
    logits, teacher = torch.randn(2, 40, 5, generator=torch.Generator().manual_seed(0)).double() * 2
    found = AlphaDivergence(clip=clip)(logits, teacher)
    assert found.item() == pytest.approx(alpha_by_hand(logits.numpy(), teacher.numpy(), clip))


def test_without_a_bound_its_gradient_is_that_of_the_alpha_divergence() -> None:
    logits, teacher = torch.randn(2, 40, 5, generator=torch.Generator().manual_seed(0)).double()
    pupil, same = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    AlphaDivergence((-1.0, 2.0), clip=1e9)(pupil, teacher).backward()
    q, p = same.softmax(1), teacher.softmax(1)
    each = [(q * ((p / q) ** a - 1) / (a * (a - 1))).sum(1) for a in (-1.0, 2.0)]
    torch.maximum(*each).mean().backward()
    torch.testing.assert_close(pupil.grad, same.grad)


def test_confident_answers_give_finite_gradients() -> None:
    logits = torch.tensor([[300.0, -300.0, 0.0], [-300.0, 300.0, 0.0]], requires_grad=True)
    loss = AlphaDivergence()(logits, torch.tensor([[-300.0, 300.0, 0.0], [-300.0, 300.0, 0.0]]))
    loss.backward()
    assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


def test_alphas_lessons_are_taught_by_its_loss() -> None:
    net = without_drawn_noise()
    assert all(
        lesson.distance == AlphaDivergence() and not lesson.regularised
        for lesson in first_step(net, Alpha())[1:]
    )
    ours, plain = gradients(Alpha(), without_drawn_noise()), gradients(Sandwich(), without_drawn_noise())
    assert not torch.equal(ours["largest.head.weight"], plain["largest.head.weight"])


def test_instatune_begins_with_the_given_network_and_fine_tunes_it_as_if_alone() -> None:
    net, network = small_supernet(), small_network()
    x, _ = few_images().batch(0, 16, 0)
    assert torch.equal(net.eval()(x, net.space.largest()), network(x))
    ours = gradients(InstaTune(apart=0.5))
    alone = gradients(Standalone())
    assert ours.keys() == alone.keys() and all(torch.equal(ours[name], alone[name]) for name in ours)


def test_only_the_largest_moves_the_statistics_of_instatune() -> None:
    nets = small_supernet(), small_supernet()
    for net, strategy in zip(nets, (InstaTune(apart=0.0), Standalone())):
        before = dict(net.named_buffers())["largest.norm.running_mean"].clone()
        gradients(strategy, net)
        assert not torch.equal(dict(net.named_buffers())["largest.norm.running_mean"], before)
    for ours, alone in zip(nets[0].buffers(), nets[1].buffers()):
        assert torch.equal(ours, alone)


@dataclass(frozen=True)
class _Once:
    """The largest, once."""

    regularised: bool = True
    part: tuple[int, int] = (0, 1)

    def lessons(self, context: Context) -> list[Lesson]:
        return [Lesson(context.space.largest(), regularised=self.regularised, part=self.part)]


def test_a_lesson_that_is_not_regularised_drops_nothing_and_the_next_one_does() -> None:
    net = small_supernet()
    quiet, noisy = gradients(_Once(regularised=False), net), gradients(_Once())
    none = gradients(_Once(), without_drawn_noise())
    assert all(torch.equal(quiet[name], none[name]) for name in quiet)
    assert not torch.equal(noisy["largest.head.weight"], none["largest.head.weight"])
    assert net.largest.dropout.p == 0.2


def test_a_part_of_a_batch_is_a_smaller_batch() -> None:
    net = without_drawn_noise().train()
    x, labels = few_images().batch(0, 16, OPTIONS.seed)
    F.cross_entropy(net(x[1::4], net.space.largest()), labels[1::4], label_smoothing=0.1).backward()
    for name, found in gradients(_Once(part=(1, 4)), without_drawn_noise()).items():
        torch.testing.assert_close(found, net.get_parameter(name).grad, atol=1e-6, rtol=1e-4)


def test_more_architectures_than_examples_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"a batch of 16 cannot be dealt out among 17 lessons; raise train\.batch"
    ):
        Trainer(small_supernet(), few_images(), OPTIONS, strategy=MultiArchitecture(17)).run()


def test_the_parts_of_a_batch_are_the_batch() -> None:
    lessons = MultiArchitecture(3).lessons(course(SPACE, 0))
    seen = [example for lesson in lessons for example in range(16)[lesson.part[0] :: lesson.part[1]]]
    assert sorted(seen) == list(range(16)) and sum(lesson.weight for lesson in lessons) == pytest.approx(1)


def test_nested_levels_lie_in_each_other_from_the_smallest_to_the_largest() -> None:
    for levels in (2, 3, 4, 7):
        genes = [Nested(levels).level(SPACE, i).genes for i in range(levels)]
        assert genes[0] == SPACE.smallest().genes and genes[-1] == SPACE.largest().genes
        assert all(a <= b for low, high in pairwise(genes) for a, b in zip(low, high))


def test_a_narrower_nested_subnet_holds_slices_of_the_wider_one() -> None:
    net = small_supernet()
    narrow, wide = (net.extract(Nested(3).level(net.space, i)) for i in (1, 2))
    for name, part in narrow.named_parameters():
        whole = wide.get_parameter(name)
        assert torch.equal(part, whole[tuple(slice(size) for size in part.shape)])


def test_the_phases_of_shrinking_cover_its_epochs_in_order() -> None:
    plan = Shrinking(epochs=(2, 1, 1, 1, 1, 2))
    phases = [plan.phase(replace(course(SPACE, step), steps=80, epochs=8)) for step in range(80)]
    assert Counter(phases) == {0: 20, 1: 10, 2: 10, 3: 10, 4: 10, 5: 20} and phases == sorted(phases)


def test_phases_that_do_not_cover_the_epochs_are_refused() -> None:
    options = replace(OPTIONS, strategy="shrinking", strategy_options={"epochs": [1, 1, 1, 1, 1, 2]})
    with pytest.raises(
        ConfigError, match=r"the phases cover 7 epochs \(1, 1, 1, 1, 1, 2\) of a training of 6"
    ):
        Trainer(small_supernet(), few_images(), options).run()


def test_each_phase_of_shrinking_opens_what_it_says() -> None:
    space = SearchSpace(
        (
            Choice("resolution", (16, 32)),
            Choice("depth", (2, 3, 4)),
            Choice("kernel", (3, 5, 7)),
            Choice("expand", (3, 4, 6)),
        )
    )
    seen: list[list[set[int]]] = []
    for phase in range(6):
        drawn = [
            lesson.arch.genes
            for i in range(60)
            for lesson in Shrinking().lessons(replace(course(space, 4 * phase), rng=Random(i)))
        ]
        seen.append([set(column) for column in zip(*drawn)])
    top, two, all3, sides = {2}, {1, 2}, {0, 1, 2}, {0, 1}
    assert seen == [
        [{1}, top, top, top],
        [sides, top, all3, top],
        [sides, two, all3, top],
        [sides, all3, all3, top],
        [sides, all3, all3, two],
        [sides, all3, all3, all3],
    ]


def test_shrinking_keeps_everything_but_kernels_whole_while_these_shrink() -> None:
    net = tiny_supernet()
    at = replace(course(net.space, 0), kinds=net.plan.kinds, epochs=2)
    drawn = [Shrinking(("kernel", "expand")).lessons(replace(at, rng=Random(i)))[1].arch for i in range(8)]
    kernels = {name for name, kinds in net.plan.kinds.items() if kinds == {"kernel"}}
    smaller = {
        name
        for arch in drawn
        for name, value in net.space.decode(arch).items()
        if value != net.space[name].values[-1]
    }
    assert kernels == smaller == {name for name in net.plan.kinds if name.endswith("kernel")}


def test_shrinking_sorts_when_a_phase_of_widths_begins_and_keeps_what_was_trained() -> None:
    state: dict[str, Any] = {}
    found = {}
    for step in range(24):
        at = course(SPACE, step, state)
        found[step] = Shrinking().sorts(at)
        Shrinking().lessons(at)
    assert {step: sort for step, sort in found.items() if sort} == {16: Sort(trained=1), 20: Sort(trained=2)}
    again = course(SPACE, 16, state)
    assert Shrinking(sort="l1").sorts(again) == Sort("l1", trained=4), "after a restart all have been trained"
    assert Shrinking(sort="none").sorts(again) is None


@dataclass(frozen=True)
class _SortedAlone(Standalone):
    """The largest alone, its units sorted before the third step."""

    def sorts(self, context: Context) -> Sort | None:
        return Sort("l1") if context.step == 2 else None


def test_a_largest_network_that_is_sorted_while_it_learns_learns_the_same() -> None:
    plain, sorted_ = without_drawn_noise(), without_drawn_noise()
    for net, strategy in ((plain, Standalone()), (sorted_, _SortedAlone())):
        Trainer(net, few_images(), replace(OPTIONS, lr=0.02), strategy=strategy).run()
    x, _ = few_images().batch(0, 16, 0)
    largest, smallest = plain.space.largest(), plain.space.smallest()
    torch.testing.assert_close(sorted_(x, largest), plain(x, largest), atol=1e-4, rtol=1e-3)
    assert not torch.allclose(sorted_(x, smallest), plain(x, smallest), atol=1e-2)


def test_alone_is_always_the_one_asked_for() -> None:
    assert Standalone().lessons(course(SPACE, 3)) == [Lesson(SPACE.largest())]
    narrow = SPACE.encode({"depth": 1, "width": 24})
    assert Standalone((0, 0, 2)).lessons(course(SPACE, 3)) == [Lesson(narrow)]


def test_the_sandwich_is_largest_some_between_and_smallest() -> None:
    lessons = Sandwich(between=3).lessons(course(SPACE, 0))
    assert lessons[0] == Lesson(SPACE.largest()) and lessons[-1] == Lesson(SPACE.smallest(), teacher=0)
    assert len(lessons) == 5 and all(lesson.teacher == 0 for lesson in lessons[1:])


def test_shift_learns_more_often_where_losses_still_fall() -> None:
    strategy, state = Shift(bins=4), dict[str, Any]()
    for step in range(400):
        at = wide(4, step, state)
        falling = replace(
            at, loss=lambda arch, at=at, step=step: 2.0 - step / 400 if bin_of(at, arch, 4) == 3 else 1.0
        )
        take(strategy, falling)
    chances = strategy.chances(state)
    assert sum(chances) == pytest.approx(1) and chances[3] > 0.7
    assert min(chances) == pytest.approx(0.25 / 4)


def test_only_the_preferred_ever_learn_and_they_score_best() -> None:
    state: dict[str, Any] = {}
    strategy = Preferred(bins=2, candidates=6, kept=2)
    scored: dict[Any, float] = {}
    at = wide(2, 0, state)
    watched = replace(at, saliency=lambda arch: scored.setdefault(arch, float(arch.genes[0])))
    strategy.lessons(watched)
    preferred = {tuple(genes) for genes in state["preferred"]}
    for i in range(2):
        ranked = sorted((score for arch, score in scored.items() if bin_of(at, arch, 2) == i), reverse=True)
        kept = sorted(
            (scored[a] for a in scored if a.genes in preferred and bin_of(at, a, 2) == i), reverse=True
        )
        assert kept == ranked[: len(kept)]
    seen = {lesson.arch.genes for step in range(50) for lesson in strategy.lessons(wide(2, step, state))}
    assert seen == preferred


def test_looking_at_a_subnet_moves_nothing(tmp_path: Path) -> None:
    net = small_supernet()
    trainer = Trainer(net, few_images(), OPTIONS)
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    x, labels = batch = few_images().batch(0, 16, 0)
    context, arch = trainer._context(batch), net.space.smallest()
    torch.manual_seed(3)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    loss, saliency = context.loss(arch), context.saliency(arch)
    assert torch.equal(torch.rand(1), drawn) and (loss, saliency) == (
        context.loss(arch),
        context.saliency(arch),
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(weight.grad is None for weight in net.parameters())
    cut = net.extract(arch).train()
    cut.dropout = nn.Identity()
    found = F.cross_entropy(cut(x), labels)
    found.backward()
    by_hand = sum(
        (weight * weight.grad).abs().sum().item() for weight in cut.parameters() if weight.grad is not None
    )
    assert loss == pytest.approx(found.item(), rel=1e-4) and saliency == pytest.approx(by_hand, rel=1e-3)


def test_costs_seen_by_a_strategy_are_those_of_the_supernet() -> None:
    net = small_supernet()
    context = Trainer(net, few_images(), OPTIONS)._context(few_images().batch(0, 16, 0))
    genes = net.space.matrix([net.space.smallest(), net.space.largest()])
    assert context.macs(genes).tolist() == [
        net.costs().of(arch).macs for arch in (net.space.smallest(), net.space.largest())
    ]
