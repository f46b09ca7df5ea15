"""Training is reproducible, survives a kill, and trains what it says."""

from __future__ import annotations

import errno
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional as F

import supernet.evaluate as evaluating
from supernet.checkpoint import read_checkpoint, write_checkpoint
from supernet.curves import LOG
from supernet.data import ImageDataset
from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError, StateError, SupernetError
from supernet.evaluate import Evaluator
from supernet.options import DataOptions, TrainOptions
from supernet.presets.mobile import Mobile
from supernet.record import Epoch, Record
from supernet.seeds import rng
from supernet.sources import load_data
from supernet.strategies import Context, Lesson, Standalone
from supernet.trainer import CHECKPOINT, Trainer

OPTIONS = TrainOptions(epochs=3, batch_size=256, distil_after=0.4, distil_weight=0.5)


@lru_cache(maxsize=1)
def _made() -> Supernet:
    return Mobile(resolution=8, widths=(8, 8, 12), depths=(1, 2), features=32).supernet()


def small_supernet() -> Supernet:
    return deepcopy(_made())


def interrupt(at: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, words: str) -> None:
        if done == at:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize(
    ("strategy", "seconds"),
    [pytest.param("sandwich", 60.0, marks=pytest.mark.slow), ("sandwich", 0.0), ("single_path", 0.0)],
)
def test_an_interrupted_run_ends_at_the_same_bytes(
    tmp_path: Path, digits: ImageDataset, strategy: str, seconds: float
) -> None:
    options = replace(OPTIONS, strategy=strategy, checkpoint_seconds=seconds)
    history = Trainer(small_supernet(), digits, options, tmp_path / "whole").run()
    for stop in (2, 6):
        with pytest.raises(KeyboardInterrupt):
            Trainer(small_supernet(), digits, options, tmp_path / "parts").run(interrupt(stop))
    resumed = Trainer(small_supernet(), digits, options, tmp_path / "parts")
    assert resumed.step == (6 if seconds == 0 else 4)
    assert resumed.run() == history
    whole, parts = ((tmp_path / name / CHECKPOINT).read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_a_killed_process_ends_at_the_same_bytes(tmp_path: Path, digits: ImageDataset) -> None:
    Trainer(small_supernet(), digits, OPTIONS, tmp_path / "whole").run()
    script = (
        "import os, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from tests.supernet.test_trainer import OPTIONS, DataOptions, Trainer, load_data, small_supernet\n"
        "torch.set_num_threads(1)\n"
        "kill = lambda done, total, words: done == 7 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "Trainer(small_supernet(), load_data(DataOptions(resolution=8)), OPTIONS, Path(sys.argv[1])).run(kill)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "parts")], check=False)
    assert killed.returncode == -signal.SIGKILL
    resumed = Trainer(small_supernet(), digits, OPTIONS, tmp_path / "parts")
    assert resumed.step == 4
    resumed.run()
    whole, parts = ((tmp_path / name / CHECKPOINT).read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_a_training_made_longer_is_the_one_that_was_to_be_as_long(
    tmp_path: Path, digits: ImageDataset
) -> None:
    short = replace(OPTIONS, epochs=2, evaluate_every=5)
    long = short.until(3)
    planned = Trainer(small_supernet(), digits, long, tmp_path / "planned").run()
    begun = Trainer(small_supernet(), digits, short, tmp_path / "parts").run()
    assert begun == planned[:2] and planned[1].largest is not None is not planned[2].largest
    trainer = Trainer(small_supernet(), digits, long, tmp_path / "parts")
    assert trainer.step == 8 and trainer.run() == planned
    whole, parts = ((tmp_path / name / CHECKPOINT).read_bytes() for name in ("planned", "parts"))
    assert whole == parts
    with pytest.raises(StateError, match="of a training of 3 epochs"):
        Trainer(small_supernet(), digits, short, tmp_path / "parts")


def test_a_teacher_that_is_never_heard_is_not_heard_after_a_restart_either(digits: ImageDataset) -> None:
    options = replace(OPTIONS, epochs=2, restarts=(1,), evaluate_every=5)
    never, weightless = (
        Trainer(small_supernet(), digits, replace(options, **change)).run()  # type: ignore[arg-type]
        for change in ({"distil_after": 1.0}, {"distil_weight": 0.0})
    )
    assert never == weightless


def test_a_finished_run_is_not_trained_again(tmp_path: Path, digits: ImageDataset) -> None:
    first = Trainer(small_supernet(), digits, OPTIONS, tmp_path)
    history = first.run()
    again = Trainer(small_supernet(), digits, OPTIONS, tmp_path)
    assert again.run(interrupt(1)) == history
    for ours, theirs in zip(first.supernet.parameters(), again.supernet.parameters()):
        assert torch.equal(ours, theirs)


def test_the_log_holds_each_step_once_even_after_an_interruption(
    tmp_path: Path, digits: ImageDataset
) -> None:
    with pytest.raises(KeyboardInterrupt):
        Trainer(small_supernet(), digits, OPTIONS, tmp_path).run(interrupt(6))
    Trainer(small_supernet(), digits, OPTIONS, tmp_path).run()
    events = EventAccumulator(str(tmp_path / LOG)).Reload()
    tags = {f"loss/{role}" for role in ("largest", "between", "smallest")}
    tags |= {"learning_rate", "gradient_norm", "examples_per_second", "memory_mib"}
    tags |= {f"watched_accuracy/{i}" for i in range(5)}
    tags |= {f"search_{what}/{role}" for what in ("accuracy", "log_loss") for role in ("largest", "smallest")}
    assert set(events.Tags()["scalars"]) == tags
    assert [event.step for event in events.Scalars("loss/largest")] == list(range(1, 13))
    assert [event.step for event in events.Scalars("search_accuracy/largest")] == [4, 8, 12]


def test_alone_trains_the_very_network_that_is_cut_out(digits: ImageDataset) -> None:
    shared = small_supernet()
    arch = shared.space.smallest()
    plain = shared.extract(arch).train()
    options = replace(OPTIONS, epochs=1, momentum=0.9)
    trainer = Trainer(shared, digits, options, strategy=Standalone(arch.genes))
    decayed = [p for p in plain.parameters() if p.dim() > 1]
    rest = [p for p in plain.parameters() if p.dim() <= 1]
    groups = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=options.lr, momentum=0.9, nesterov=True)
    for step in range(trainer.steps):
        trainer.stepper.schedule.step_update(step)
        for group in optimizer.param_groups:
            group["lr"] = trainer.stepper.lr
        x, labels = digits.batch(step, options.batch_size, options.seed)
        optimizer.zero_grad()
        F.cross_entropy(plain(x), labels, label_smoothing=options.label_smoothing).backward()
        optimizer.step()
    trainer.run()
    for name, value in shared.extract(arch).named_parameters():
        # Channels last adds up in another order; four steps of SGD carry the difference on.
        torch.testing.assert_close(value, plain.get_parameter(name), atol=1e-4, rtol=1e-3)


@dataclass(frozen=True)
class _Unlike:
    """Lessons of unlike weights; the last two are taught, and not by the one before them."""

    def lessons(self, context: Context) -> list[Lesson]:
        space = context.space
        return [
            Lesson(space.largest(), weight=0.5),
            Lesson(space.sample(context.rng), weight=2.0),
            Lesson(space.sample(context.rng), teacher=0, weight=1.5),
            Lesson(space.smallest(), teacher=0),
        ]


def _rate(step: int, options: TrainOptions, steps: int) -> float:
    """Cosine after a linear warm-up from a hundredth."""
    warm = round(options.warmup * steps)
    if step < warm:
        return options.lr * (0.01 + 0.99 * step / warm)
    return options.lr * (1 + cos(pi * step / steps)) / 2


def test_a_run_is_that_of_a_loop_written_by_hand(digits: ImageDataset) -> None:
    few = replace(digits, train=digits.train.take(torch.arange(128)))
    options = TrainOptions(
        epochs=2, batch_size=32, lr=0.05, warmup=0.25, weight_decay=0.1, distil_after=0.5, distil_weight=0.75,
        evaluate_every=2, evaluate_examples=16, calibration_examples=16,
    )  # fmt: skip
    trained, net, steps = small_supernet(), small_supernet().train(), 8
    history = Trainer(trained, few, options, strategy=_Unlike()).run()
    groups = [
        {"params": [p for p in net.parameters() if p.dim() > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in net.parameters() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=options.lr, momentum=options.momentum, nesterov=True)
    largest: list[float] = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _rate(step, options, steps)
        x, labels = few.batch(step, options.batch_size, options.seed)
        lessons = _Unlike().lessons(Context(net.space, step, steps, rng(options.seed, "lessons", step)))
        answers, total = [net(x, lesson.arch) for lesson in lessons], torch.zeros(())
        teacher = answers[0].detach().log_softmax(1)
        for lesson, answer in zip(lessons, answers):
            loss = F.cross_entropy(answer, labels, label_smoothing=options.label_smoothing)
            if lesson.teacher is not None and step >= 4:
                far = (teacher.exp() * (teacher - answer.log_softmax(1))).sum(1).mean()
                loss = 0.25 * loss + 0.75 * far
            total = total + lesson.weight * loss
        largest.append(F.cross_entropy(answers[0], labels, label_smoothing=options.label_smoothing).item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    for (name, ours), theirs in zip(trained.named_parameters(), net.parameters()):
        # Channels last adds up in another order; eight steps of SGD carry the difference on.
        torch.testing.assert_close(
            ours, theirs, atol=3e-4, rtol=3e-3, msg=lambda why, name=name: f"{name}: {why}"
        )
    assert [epoch.losses["largest"] for epoch in history] == pytest.approx(
        [sum(largest[:4]) / 4, sum(largest[4:]) / 4], rel=1e-3
    )
    assert [epoch.lr for epoch in history] == pytest.approx([_rate(step, options, steps) for step in (3, 7)])


def test_layers_draw_anew_at_every_step_and_alike_in_every_run(digits: ImageDataset) -> None:
    def drawn() -> list[float]:
        net, found = small_supernet(), []
        net.largest.register_forward_pre_hook(lambda module, args: found.append(torch.rand(()).item()))
        with pytest.raises(KeyboardInterrupt):
            Trainer(net, digits, OPTIONS, strategy=Standalone()).run(interrupt(3))
        return found

    first = drawn()
    assert len(set(first)) == len(first) == 3
    assert drawn() == first


class _Watched:
    """A data set that notes which splits are looked at."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset, self.looked = dataset, set[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)

    def batches(self, split: Any, *args: Any) -> Any:
        self.looked.add(split)
        return self.dataset.batches(split, *args)


def test_training_looks_at_the_search_split_and_never_at_the_test_split(digits: ImageDataset) -> None:
    watched, net = _Watched(digits), small_supernet()
    (epoch,) = Trainer(net, watched, replace(OPTIONS, epochs=1)).run()
    assert watched.looked == {"search"}
    evaluate = Evaluator(net, digits, "search", calibration_examples=OPTIONS.calibration_examples)
    assert epoch.largest == evaluate(net.space.largest()).value
    assert epoch.smallest == evaluate(net.space.smallest()).value
    assert Evaluator(net, digits)(net.space.largest()).examples == len(digits.search)


def test_the_last_look_is_what_is_told() -> None:
    epochs = [Epoch(1, 4, 0.1, {}, 10.0, 9.0), Epoch(2, 8, 0.1, {}, 20.0, 19.0), Epoch(3, 12, 0.1, {})]
    assert Record(history=epochs).last_seen == (20.0, 19.0)
    assert Record(history=epochs[2:]).last_seen is None


def test_the_seed_decides_the_run(digits: ImageDataset) -> None:
    options = replace(OPTIONS, epochs=1)
    first, again, other = (
        Trainer(small_supernet(), digits, replace(options, seed=seed)).run()[-1].losses for seed in (0, 0, 1)
    )
    assert first == again != other


def test_global_randomness_is_neither_used_nor_moved(digits: ImageDataset) -> None:
    options = replace(OPTIONS, epochs=1)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = Trainer(small_supernet(), digits, options).run()
    assert torch.equal(torch.rand(1), expected)
    assert Trainer(small_supernet(), digits, options).run() == first


def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path, digits: ImageDataset) -> None:
    Trainer(small_supernet(), digits, replace(OPTIONS, epochs=1), tmp_path).run()
    with pytest.raises(
        StateError, match=r"of a training of 1 epoch, whose schedule ends there; 3 with .*--until"
    ):
        Trainer(small_supernet(), digits, OPTIONS, tmp_path)
    with pytest.raises(StateError, match=r"of another training: its data is"):
        other = load_data(DataOptions(resolution=8, split_seed=1))
        Trainer(small_supernet(), other, replace(OPTIONS, epochs=1), tmp_path)
    with pytest.raises(StateError, match=r"of another training: its space is"):
        Trainer(Mobile(resolution=8).supernet(), digits, replace(OPTIONS, epochs=1), tmp_path)
    for key, value in {"seed": 1, "lr": 0.2, "distil_weight": 0.1, "label_smoothing": 0.0}.items():
        with pytest.raises(StateError, match=rf"of another training: its {key} is"):
            Trainer(small_supernet(), digits, replace(OPTIONS, epochs=1, **{key: value}), tmp_path)
    Trainer(small_supernet(), digits, replace(OPTIONS, epochs=1, checkpoint_seconds=1.0), tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"{}"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, digits: ImageDataset, content: bytes) -> None:
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(StateError, match=r"training\.safetensors can not be read"):
        Trainer(small_supernet(), digits, OPTIONS, tmp_path)


def test_a_folder_that_can_not_be_written_to_is_named(tmp_path: Path, digits: ImageDataset) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StateError, match="cannot write"):
        Trainer(small_supernet(), digits, replace(OPTIONS, epochs=1), blocked / "run").run()


def test_a_folder_is_trained_in_by_one_process_at_a_time(tmp_path: Path, digits: ImageDataset) -> None:
    options = replace(OPTIONS, epochs=1)
    second = Trainer(small_supernet(), digits, options, tmp_path)

    def meanwhile(done: int, total: int, words: str) -> None:
        with pytest.raises(StateError, match="is trained in by another process; wait for it"):
            second.run()

    first = Trainer(small_supernet(), digits, options, tmp_path).run(meanwhile)
    assert second.step == 0
    assert Trainer(small_supernet(), digits, options, tmp_path).run() == first


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)  # TensorBoard's own thread
@pytest.mark.parametrize(("at", "seconds"), [(1, 60.0), (1, 0.0), (6, 60.0)])
def test_a_folder_removed_during_training_is_named_and_not_made_anew(
    at: int, seconds: float, tmp_path: Path, digits: ImageDataset
) -> None:
    folder = tmp_path / "run" / "training"

    def remove(done: int, total: int, words: str) -> None:
        if done == at:
            shutil.rmtree(folder.parent)

    options = replace(OPTIONS, checkpoint_seconds=seconds)
    with pytest.raises(StateError, match="was removed during the training"):
        Trainer(small_supernet(), digits, options, folder).run(remove)
    assert not folder.parent.exists()


def test_a_checkpoint_does_not_make_a_removed_folder_anew(
    tmp_path: Path, digits: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Record, "epoch", lambda self, *_: shutil.rmtree(tmp_path / "run"))
    trainer = Trainer(small_supernet(), digits, OPTIONS, tmp_path / "run" / "training")
    with pytest.raises(StateError, match="was removed during the training"):
        trainer.run()
    assert not (tmp_path / "run").exists()


def test_curves_that_cannot_be_written_are_an_error_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Record(tmp_path)
    record.open(0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record.curves._writer, "add_scalar", full)
    with pytest.raises(
        StateError, match=r"cannot write the curves .*No space left on device; free some space"
    ):
        record.step(1, {"largest": 1.0}, 0.1)


def test_a_diverging_run_names_the_learning_rate(digits: ImageDataset) -> None:
    with pytest.raises(SupernetError, match=r"lr is 1e\+30"):
        Trainer(small_supernet(), digits, replace(OPTIONS, lr=1e30, warmup=0.0)).run()


def test_an_unknown_strategy_option_is_refused(digits: ImageDataset) -> None:
    with pytest.raises(ConfigError, match=r"'strategy_options\.betwen'; did you mean 'between'"):
        Trainer(small_supernet(), digits, TrainOptions(strategy_options={"betwen": 1}))


def test_a_checkpoint_is_read_back_equal(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 2), "b": torch.tensor(4)}
    path = write_checkpoint(tmp_path / "state", tensors, {"losses": [0.1, 1e-17]})
    read, document = read_checkpoint(path)
    assert document == {"losses": [0.1, 1e-17]} and all(
        torch.equal(read[name], tensors[name]) for name in tensors
    )


def test_evaluation_leaves_the_supernet_as_it_is_and_repeats_itself(digits: ImageDataset) -> None:
    shared = small_supernet()
    before = {name: tensor.clone() for name, tensor in shared.state_dict().items()}
    evaluate = Evaluator(shared, digits, "test")
    arch = shared.space.smallest()
    accuracy = evaluate(arch)
    assert accuracy.examples == len(digits.test) and evaluate(arch) == accuracy
    assert evaluate.of(shared.extract(arch, evaluate.statistics(arch)).eval()) == accuracy
    assert Evaluator(shared, digits, "test", batch_size=50)(arch).value == accuracy.value
    assert all(torch.equal(before[name], tensor) for name, tensor in shared.state_dict().items())


def test_a_split_too_large_to_keep_is_judged_whole(
    digits: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = small_supernet()
    kept = Evaluator(shared, digits, batch_size=100)(shared.space.largest())
    monkeypatch.setattr(evaluating, "PREPARED_BYTES", 1)
    assert Evaluator(shared, digits, batch_size=100)(shared.space.largest()) == kept


@pytest.mark.slow
def test_the_quickstart_recipe_reaches_its_accuracy(seed: int = 0) -> None:
    data = load_data(DataOptions())
    shared = Mobile(resolution=24, seed=seed).supernet()
    Trainer(shared, data, TrainOptions(seed=seed, evaluate_every=1000)).run()
    evaluate = Evaluator(shared, data, "test")
    assert evaluate(shared.space.largest()).value >= 98
    assert evaluate(shared.space.smallest()).value >= 96.5
