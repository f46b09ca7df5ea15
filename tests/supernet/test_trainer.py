"""Training is reproducible, survives a kill, and trains what it says."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional as F

from supernet.checkpoint import read_checkpoint, write_checkpoint
from supernet.data import ImageDataset
from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError, StateError, SupernetError
from supernet.evaluate import Evaluator
from supernet.options import DataOptions, TrainOptions
from supernet.presets.mobile import Mobile
from supernet.record import LOG
from supernet.sources import load_data
from supernet.strategies import Alone
from supernet.trainer import CHECKPOINT, Trainer

OPTIONS = TrainOptions(epochs=3, batch_size=256, distil_after=0.4)


@lru_cache(maxsize=1)
def _made() -> Supernet:
    return Mobile(resolution=8, widths=(8, 8, 12), depths=(1, 2), features=32).supernet()


def small_supernet() -> Supernet:
    return deepcopy(_made())


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    found = load_data(DataOptions(resolution=8))
    assert isinstance(found, ImageDataset)
    return found


def interrupt(at: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, words: str) -> None:
        if done == at:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize(
    ("strategy", "seconds"), [("sandwich", 60.0), ("sandwich", 0.0), ("single_path", 0.0)]
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
    tags |= {"learning_rate"}
    tags |= {f"search_{what}/{role}" for what in ("accuracy", "log_loss") for role in ("largest", "smallest")}
    assert set(events.Tags()["scalars"]) == tags
    assert [event.step for event in events.Scalars("loss/largest")] == list(range(1, 13))
    assert [event.step for event in events.Scalars("search_accuracy/largest")] == [4, 8, 12]


def test_alone_trains_the_very_network_that_is_cut_out(digits: ImageDataset) -> None:
    shared = small_supernet()
    arch = shared.space.smallest()
    plain = shared.extract(arch).train()
    options = replace(OPTIONS, epochs=1, momentum=0.9)
    trainer = Trainer(shared, digits, options, strategy=Alone(arch.genes))
    decayed = [p for p in plain.parameters() if p.dim() > 1]
    rest = [p for p in plain.parameters() if p.dim() <= 1]
    groups = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=options.lr, momentum=0.9, nesterov=True)
    for step in range(trainer.steps):
        trainer.schedule.step_update(step)
        for group in optimizer.param_groups:
            group["lr"] = trainer.optimizer.param_groups[0]["lr"]
        x, labels = digits.batch(step, options.batch_size, options.seed)
        optimizer.zero_grad()
        F.cross_entropy(plain(x), labels, label_smoothing=options.label_smoothing).backward()
        optimizer.step()
    trainer.run()
    for name, value in shared.extract(arch).named_parameters():
        # Channels last adds up in another order; four steps of SGD carry the difference on.
        torch.testing.assert_close(value, plain.get_parameter(name), atol=1e-4, rtol=1e-3)


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
    with pytest.raises(StateError, match=r"of another training: its epochs is 1, now 3 is asked"):
        Trainer(small_supernet(), digits, OPTIONS, tmp_path)
    with pytest.raises(StateError, match=r"of another training: its data is"):
        other = load_data(DataOptions(resolution=8, split_seed=1))
        Trainer(small_supernet(), other, replace(OPTIONS, epochs=1), tmp_path)
    with pytest.raises(StateError, match=r"of another training: its space is"):
        Trainer(Mobile(resolution=8).supernet(), digits, replace(OPTIONS, epochs=1), tmp_path)


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


@pytest.mark.slow
def test_the_quickstart_recipe_reaches_its_accuracy(seed: int = 0) -> None:
    data = load_data(DataOptions())
    shared = Mobile(resolution=24, seed=seed).supernet()
    Trainer(shared, data, TrainOptions(seed=seed, evaluate_every=1000)).run()
    evaluate = Evaluator(shared, data, "test")
    assert evaluate(shared.space.largest()).value >= 98
    assert evaluate(shared.space.smallest()).value >= 96.5
