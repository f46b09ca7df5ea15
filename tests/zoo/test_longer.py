"""A run can be trained longer, and says what rests on the weights it had."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from supernet.elastic.storage import WEIGHTS
from supernet.errors import ConfigError
from tests.zoo.test_stopping import TINY
from zoo.cli import app
from zoo.pipeline.run import open_run


def train(run: Path, *words: str, **changes: str) -> str:
    """What training says."""
    options = {key.replace("__", "."): value for key, value in changes.items()}
    given = [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    result = CliRunner().invoke(app, ["train", "--run", str(run), *given, *words], catch_exceptions=False)
    return " ".join(result.output.split())


@pytest.mark.slow
def test_a_run_trained_longer_is_one_that_was_to_be_as_long(tmp_path: Path) -> None:
    tiny = {key.replace(".", "__"): str(value) for key, value in TINY.items()}
    run, planned = tmp_path / "run", tmp_path / "planned"
    assert "after 2 epochs" in train(run, **tiny)
    before = (run / "supernet" / WEIGHTS).read_bytes()
    (run / "search").mkdir()
    (run / "search" / "archive.sqlite").write_text("")
    assert "is a search among the earlier weights" not in train(run)
    said = train(run, "--until", "3")
    assert "Kept from before: training up to step 8 (2 of 3 epochs)" in said and "after 3 epochs" in said
    assert f"{run / 'search'} is a search among the earlier weights" in said
    assert open_run(run).options.train.restarts == (2,)
    assert "after 3 epochs" in train(run, "--until", "3")
    train(planned, **tiny | {"train__epochs": "3", "train__restarts": "[2]"})
    assert (
        before != (run / "supernet" / WEIGHTS).read_bytes() == (planned / "supernet" / WEIGHTS).read_bytes()
    )
    with pytest.raises(ConfigError, match="2 is shorter"):
        train(run, "--until", "2")


def test_before_it_has_begun_a_training_is_as_long_as_it_is_asked_to_be(tmp_path: Path) -> None:
    options = open_run(tmp_path / "run", changes=["train.epochs=3"], until=7).options
    assert (options.train.epochs, options.train.restarts) == (7, ())
