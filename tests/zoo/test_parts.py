"""A run that is split goes on as several, which train on from its weights and hold its networks once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from supernet.build import build
from supernet.elastic.storage import WEIGHTS
from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError, StateError, SupernetError
from supernet.options import SupernetOptions
from supernet.sources import load_data
from supernet.tasks.classification import ImageClassification
from tests.zoo.test_longer import train
from tests.zoo.test_stopping import TINY
from zoo.cli import app
from zoo.pipeline.parts import split_run
from zoo.pipeline.run import open_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(
        folder, **{key.replace(".", "__"): str(value) for key, value in (TINY | {"train.epochs": 1}).items()}
    )
    return folder


def test_the_parts_of_a_run_train_on_from_its_weights(whole: Path) -> None:
    with pytest.raises(SupernetError, match="split by 'gradient'"):
        split_run(open_run(whole), "gradient")
    said = CliRunner().invoke(app, ["split", "--run", str(whole), "--parts", "2"], catch_exceptions=False)
    assert "agree least" in said.output and "whole-2" in said.output
    net = Supernet.load(whole / "supernet")
    runs = [open_run(whole.with_name(f"whole-{number}")) for number in (1, 2)]
    data = load_data(runs[0].options.data)
    begun = [build(run.options.supernet, data.task) for run in runs]
    assert sum(part.space.size for part in begun) == net.space.size
    assert all(
        torch.equal(value, part.state_dict()[name])
        for part in begun
        for name, value in net.state_dict().items()
    )
    assert "after 1 epoch" in train(runs[0].folder)
    ours, theirs = (folder / "supernet" / WEIGHTS for folder in (runs[0].folder, whole))
    assert ours.read_bytes() != theirs.read_bytes()
    assert Supernet.load(ours.parent).space.fingerprint == begun[0].space.fingerprint
    with pytest.raises(StateError, match="whole-1 is a run already"):
        split_run(open_run(whole))


def test_a_saved_supernet_is_refused_where_it_does_not_fit(whole: Path) -> None:
    data = load_data(open_run(whole).options.data)
    saved = SupernetOptions(model=f"supernet:{whole / 'supernet'}")
    with pytest.raises(SupernetError, match="answers with 10 classes, the data have 7"):
        build(saved, ImageClassification(tuple("abcdefg"), 1, 8))
    with pytest.raises(
        SupernetError, match="does not run on image-classification with classes 10, channels 3"
    ):
        build(saved, ImageClassification(tuple("abcdefghij"), 3, 8))
    with pytest.raises(StateError, match="there is no supernet in"):
        build(SupernetOptions(model=f"supernet:{whole / 'nowhere'}"), data.task)
    with pytest.raises(ConfigError, match="brings its weights and what is elastic"):
        SupernetOptions(model=saved.model, options={"depths": [1]})
