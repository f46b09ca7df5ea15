"""A teacher that was trained before: which network it is, who learns from it, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.calibrate import calibrate
from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError, StateError, WeightsError
from supernet.options import TrainOptions
from supernet.seeds import rng
from supernet.strategies import Context, MultiArchitecture, Sandwich
from supernet.teaching import FILE, TEACHER, alone, teacher_from
from supernet.trainer import CHECKPOINT, Trainer
from tests.supernet.strategies.course import few_images, interrupted, small_supernet

OPTIONS = TrainOptions(
    epochs=3, batch_size=16, warmup=0.0, evaluate_every=9, evaluate_examples=16, calibration_examples=16,
    distil_after=0.0, teacher="finetuned", teacher_epochs=2, checkpoint_seconds=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole training with a fine-tuned teacher."""
    folder = tmp_path_factory.mktemp("trained")
    Trainer(small_supernet(), few_images(), OPTIONS, folder).run()
    return folder


def quiet() -> Supernet:
    """Without dropout."""
    net = small_supernet()
    net.largest.dropout = nn.Identity()
    return net


def test_the_teacher_is_the_largest_trained_alone_by_the_same_recipe(trained: Path) -> None:
    net = small_supernet()
    Trainer(net, few_images(), alone(OPTIONS)).run()
    kept, ours = load_file(trained / FILE), net.extract(net.space.largest()).state_dict()
    assert kept.keys() == ours.keys() and all(torch.equal(kept[name], ours[name]) for name in kept)
    assert not torch.equal(kept["head.weight"], small_supernet().largest.head.weight)


def test_every_lesson_learns_from_it_as_it_answers_in_evaluation(trained: Path) -> None:
    options = replace(OPTIONS, teacher=str(trained / FILE), distil_weight=0.75)
    ours, net = quiet(), quiet()
    with pytest.raises(KeyboardInterrupt):
        Trainer(ours, few_images(), options, strategy=Sandwich(between=1)).run(interrupted(1))
    x, labels = few_images().batch(0, 16, options.seed)
    plain = net.extract(net.space.largest()).eval()
    plain.load_state_dict(load_file(trained / FILE))
    teacher = plain(x).detach().log_softmax(1)
    lessons = Sandwich(between=1).lessons(Context(net.space, 0, 3, rng(options.seed, "lessons", 0), epochs=3))
    net.train()
    total = torch.zeros(())
    for lesson in lessons:
        logits = net(x, lesson.arch)
        far = (teacher.exp() * (teacher - logits.log_softmax(1))).sum(1).mean()
        total = total + 0.25 * F.cross_entropy(logits, labels, label_smoothing=0.1) + 0.75 * far
    total.backward()
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight.grad, net.get_parameter(name).grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_training_interrupted_with_its_teacher_or_after_it_ends_at_the_same_bytes(
    trained: Path, tmp_path: Path, stop: int
) -> None:
    left = stop

    def progress(done: int, total: int, words: str) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(small_supernet(), few_images(), OPTIONS, tmp_path).run(progress)
    assert (tmp_path / FILE).exists() == (stop > 2)
    Trainer(small_supernet(), few_images(), OPTIONS, tmp_path).run()
    for file in (CHECKPOINT, FILE, f"{TEACHER}/{CHECKPOINT}"):
        assert (tmp_path / file).read_bytes() == (trained / file).read_bytes()


def test_a_training_does_not_go_on_with_another_teacher(trained: Path, tmp_path: Path) -> None:
    tensors = load_file(trained / FILE)
    place = tmp_path / "weights.safetensors"
    save_file(tensors, place)
    options = replace(OPTIONS, teacher=str(place))
    with pytest.raises(KeyboardInterrupt):
        Trainer(small_supernet(), few_images(), options, tmp_path / "run").run(interrupted(2))
    moved = replace(OPTIONS, teacher=str(place.rename(tmp_path / "elsewhere.safetensors")))
    assert Trainer(small_supernet(), few_images(), moved, tmp_path / "run").step == 2
    save_file({name: value + 1 for name, value in tensors.items()}, place)
    with pytest.raises(StateError, match="its teacher is"):
        Trainer(small_supernet(), few_images(), options, tmp_path / "run")


def test_a_part_of_a_batch_learns_from_the_answers_to_that_part(trained: Path) -> None:
    options = replace(OPTIONS, teacher=str(trained / FILE), distil_weight=1.0)
    nets, parts = (quiet(), quiet()), (1, 4)
    x, _ = few_images().batch(0, 16, options.seed)
    with pytest.raises(KeyboardInterrupt):
        Trainer(nets[0], few_images(), options, strategy=MultiArchitecture(parts[1])).run(interrupted(1))
    teacher = teacher_from(trained / FILE, nets[1], few_images(), options, torch.contiguous_format)
    answers: Tensor = teacher.network(x).log_softmax(1)
    context = Context(nets[1].space, 0, 3, rng(options.seed, "lessons", 0), epochs=3)
    nets[1].train()
    for i, lesson in enumerate(MultiArchitecture(parts[1]).lessons(context)):
        logits = nets[1](x[i :: parts[1]], lesson.arch).log_softmax(1)
        part = answers[i :: parts[1]].detach()
        ((part.exp() * (part - logits)).sum(1).mean() / parts[1]).backward()
    for name, weight in nets[0].named_parameters():
        torch.testing.assert_close(weight.grad, nets[1].get_parameter(name).grad, atol=1e-5, rtol=1e-4)


def test_the_largest_of_another_supernet_teaches_with_statistics_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, data = small_supernet(), few_images()
    nn.init.normal_(other.largest.one.weight, generator=torch.Generator().manual_seed(1))
    other.save(tmp_path)
    monkeypatch.setattr(Supernet, "load", lambda folder: other)  # whose network has no origin
    largest, (x, _) = other.space.largest(), data.batch(0, 16, 0)
    seen = [images for images, _ in data.calibration_batches(16, 16, 0)]
    expected = other.extract(largest, calibrate(other.subnet(largest), seen)).eval()(x)
    teacher = teacher_from(tmp_path, small_supernet(), data, OPTIONS, torch.contiguous_format)
    torch.testing.assert_close(teacher.network(x), expected)


def test_weights_that_answer_otherwise_can_not_teach(tmp_path: Path) -> None:
    net, path = small_supernet(), tmp_path / "weights.safetensors"
    tensors = {name: value.clone() for name, value in net.extract(net.space.largest()).state_dict().items()}
    save_file(tensors | {"head.weight": torch.zeros(3, 16), "head.bias": torch.zeros(3)}, path)
    with pytest.raises(
        WeightsError, match=r"gives other answers than are learnt here \(head\.weight, head\.bias"
    ):
        Trainer(net, few_images(), replace(OPTIONS, teacher=str(path))).run()


@pytest.mark.parametrize(
    ("word", "hint"), [("finetune", "did you mean 'finetuned'"), ("a/b.pth", "a file of")]
)
def test_a_teacher_that_is_not_there_is_refused_at_once(word: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"train.teacher is '{word}': nothing lies there.*{hint}"):
        Trainer(small_supernet(), few_images(), replace(OPTIONS, teacher=word))


def test_no_teacher_is_one_without_weight() -> None:
    none, silent = (
        Trainer(small_supernet(), few_images(), replace(OPTIONS, **change)).run()  # type: ignore[arg-type]
        for change in ({"teacher": "none"}, {"teacher": "largest", "distil_weight": 0.0})
    )
    assert none == silent


def test_what_a_teacher_costs_is_told(trained: Path) -> None:
    trainer = Trainer(small_supernet(), few_images(), OPTIONS, trained)
    costs, space = trainer.supernet.costs(), trainer.supernet.space
    lessons = [
        lesson.arch
        for step in range(3)
        for lesson in Sandwich().lessons(
            Context(space, step, 3, rng(OPTIONS.seed, "lessons", step), epochs=3)
        )
    ]
    learnt = 3 * sum(costs.of(arch).macs for arch in lessons)
    taught = (3 * 2 + 3) * costs.of(space.largest()).macs
    assert trainer.record.spent == {"lessons": learnt, "teacher": taught}
    assert trainer.record.teacher_share == taught / (learnt + taught)


@pytest.mark.parametrize(
    ("strategy", "origin", "weight"),
    [("sandwich", {}, 0.0), ("alpha", {}, 0.5), ("sandwich", {"weights": {"sha256": "0"}}, 0.5)],
)
def test_left_open_only_a_teacher_that_knows_something_is_heard(
    strategy: str, origin: dict[str, object], weight: float
) -> None:
    """A largest that learns from nothing is not, unless the strategy brings a distance for it."""

    def losses(**changes: float) -> list[float]:
        net = small_supernet()
        net.origin = {**(net.origin or {}), **origin}
        options = replace(OPTIONS, teacher="largest", strategy=strategy, reorder="none", **changes)  # type: ignore[arg-type]
        Trainer(net, few_images(), options).run()
        return [float(p.sum()) for p in net.parameters()]

    assert losses() == losses(distil_weight=weight) != losses(distil_weight=0.5 - weight)
