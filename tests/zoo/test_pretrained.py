"""A run that begins with weights from a file, as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from supernet.errors import SupernetError
from supernet.presets.mobile import Mobile
from zoo.cli import app
from zoo.pipeline.run import open_run

TINY = [
    *("--set", "supernet.options.widths=[8, 8, 12]"),
    *("--set", "supernet.options.depths=[1, 2]"),
    *("--set", "supernet.options.features=32"),
    *("--set", "data.resolution=8"),
    *("--set", "train.evaluate_examples=32"),
    *("--set", "train.calibration_examples=32"),
]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    colour = Mobile(classes=3, channels=3, resolution=8, widths=(8, 8, 12), depths=(1, 2), features=32)
    torch.save(colour.network().state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_the_path_of_the_weights_means_the_same_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = open_run(Path("run"), changes=['supernet.weights="weights.pth"'])
    assert run.options.supernet.weights == str(tmp_path / "weights.pth")


@pytest.mark.parametrize("command", ["train", "quickstart", "sensitivity"])
def test_weights_that_are_not_there_are_refused_and_nothing_is_written(tmp_path: Path, command: str) -> None:
    words = [command, "--run", str(tmp_path / "run"), "--weights", str(tmp_path / "nowhere.pth"), *TINY]
    found = CliRunner().invoke(app, words)
    assert isinstance(found.exception, SupernetError)
    assert "there is no file" in str(found.exception) and "nowhere.pth" in str(found.exception)
    assert not (tmp_path / "run").exists()


def test_a_study_says_what_each_cut_costs_and_leaves_no_run_behind(tmp_path: Path, weights: Path) -> None:
    words = ["sensitivity", "--run", str(tmp_path / "run"), "--weights", str(weights), *TINY]
    document = json.loads(CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).stdout)
    assert "before its training" in document["of"] and "head trained alone" in document["of"]
    assert set(document["dims"]) == {"hidden", "depth", "kernel"}
    assert document["cuts"][0]["worse"] == 0 and len(document["cuts"]) > 10
    assert not (tmp_path / "run").exists()


def test_a_training_says_which_weights_it_began_with(tmp_path: Path, weights: Path) -> None:
    words = ["train", "--run", str(tmp_path / "run"), "--weights", str(weights), *TINY]
    fast = ["--set", "train.epochs=1", "--set", "train.batch_size=1024"]
    said = CliRunner().invoke(app, [*words, *fast], catch_exceptions=False).output
    told = " ".join(said.split())
    assert (
        "tensors of weights.pth by name" in told and "made anew: classifier.weight, classifier.bias" in told
    )
    assert "adapted to the channels: conv_stem.weight" in told
    assert "sorted by importance (taylor on 32 training examples)" in told
