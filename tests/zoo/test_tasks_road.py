"""A language model and a segmentation walk the whole road: train, profile, search, export, pull."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hardware.export import check_onnx
from supernet.tasks.task import main_tensor
from zoo.pipeline.entries import publish_proofs
from zoo.pipeline.figure import draw_front
from zoo.pipeline.pick import pick
from zoo.pipeline.profiling import profile_device
from zoo.pipeline.prove import prove
from zoo.pipeline.pull_back import pull_back
from zoo.pipeline.run import open_run
from zoo.pipeline.searching import search_front
from zoo.pipeline.training import train
from zoo.pipeline.workspace import opened
from zoo.store import open_store
from zoo.store.fetch import Cache
from zoo.store.load import load_onnx
from zoo.store.pull import pull

COMMON = [
    "train.calibration_examples=64",
    "train.evaluate_examples=64",
    "profile.subnets=10",
    "profile.seconds=2",
    "search.evaluations=16",
    "search.population=6",
    "search.examples=64",
]
SEGMENTATION = [
    'data.source="scattered"',
    "data.resolution=32",
    'supernet.model="unet"',
    "supernet.options.widths=[8, 16]",
    "supernet.options.resolution=[24, 32]",
    "train.epochs=4",
]
LANGUAGE = [
    "data.length=32",
    'supernet.model="decoder"',
    "supernet.options.width=48",
    "supernet.options.depth=3",
    "supernet.options.hidden=96",
    'train.optimizer="adamw"',
    "train.lr=0.003",
    "train.epochs=1",
    "train.batch_size=64",
]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [SEGMENTATION, LANGUAGE], ids=["segmentation", "language"])
def test_another_task_walks_the_whole_road(
    changes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPERNET_HOME", str(tmp_path / "home"))
    if changes is LANGUAGE:
        changes = [*changes, f'data.source="text:{Path(torch.__file__).parent / "optim"}"']
    run = open_run(tmp_path / "run", changes=[*COMMON, *changes])
    trainer = train(run)
    first, last = trainer.history[0].losses["largest"], trainer.history[-1].losses["largest"]
    assert last < first or len(trainer.history) == 1
    workspace = opened(run)
    known = profile_device(workspace)
    searched = search_front(workspace, [known])
    assert searched.result.front
    proofs = prove(workspace, known, pick(workspace, known).archs)
    task, seen = workspace.dataset.task, set()
    for proof in proofs:
        assert proof.exact == 0
        assert proof.parity.max_relative <= 1e-4
        assert proof.test.scores[0].metric == task.measures[0]
        seen.add(tuple(workspace.net.input_values(proof.arch).values()))
    worst = {"max": min, "min": max}[task.measures[0].sense](p.test.value for p in proofs)
    chance = {"mean IoU": 8.0, "bits per byte": 8.0}[task.measures[0].name]
    assert worst > chance if task.measures[0].sense == "max" else worst < chance
    entries = publish_proofs(workspace, proofs, known.profile)
    assert all(entry.task == task.name for entry in entries)
    assert {entry.dataset.name for entry in entries} == {
        "optim" if changes[-1].startswith("data") else "scattered"
    }
    back = pull_back(workspace, proofs)
    assert back.result.scores[0].metric == task.measures[0]
    draw_front(workspace, known, searched, "test", proofs=proofs)
    pulled = pull(open_store(run.store), entries[0].id, cache=Cache(tmp_path / "home"))
    network = load_onnx(pulled)
    arch = workspace.net.space.architecture(pulled.manifest.architecture.genes)
    if task.name == "text-generation":
        longer = torch.randint(256, (3, 50))
        assert network(longer.numpy()).shape == (3, 50, 256)
        assert pulled.manifest.inputs[0].shape == ("batch", "length")
    else:
        side = workspace.net.input_values(arch)["resolution"]
        assert pulled.manifest.inputs[0].shape == ("batch", 1, side, side)
        assert pulled.manifest.dataset.preprocess["input_resolution"] == side
    inputs = workspace.example(arch)
    subnet = workspace.net.extract(arch, workspace.evaluator.statistics(arch)).eval()
    assert check_onnx(pulled.path(".onnx"), subnet, inputs).max_relative <= 1e-4
    assert main_tensor(inputs.call(subnet)).shape[0] == 2
