"""A differentiable search from the command line: it ends in an architecture that other commands take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from supernet.errors import ConfigError, StateError
from zoo.cli import app
from zoo.cli.differentiate_command import options

WORDS = [
    *("--model", "nasbench201", "--method", "gdas", "--option", "temperature=0.5", "--warmup", "0"),
    *("--set", "train.epochs=1", "--set", "train.batch_size=1024", "--set", "supernet.options.cells=1"),
    *("--set", "supernet.options.widths=[2,4]"),
]
QUICK = [
    *("--set", "profile.subnets=10", "--set", "profile.seconds=0.2", "--set", "profile.warm_ms=1"),
    *("--set", 'device.runtime="torch"'),
]


@pytest.mark.slow
def test_what_is_found_can_be_shown_and_is_found_again(tmp_path: Path) -> None:
    folder = ["--run", str(tmp_path / "run")]
    done = CliRunner().invoke(app, ["differentiate", *folder, *WORDS, "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    assert len(found["genes"]) == 6
    shown = CliRunner().invoke(app, ["show", json.dumps(found["genes"]), *folder], catch_exceptions=False)
    assert shown.exit_code == 0
    for words in (["profile"], ["export", "--arch", json.dumps(found["genes"]), "--no-publish"]):
        done = CliRunner().invoke(app, [*words, *folder, *QUICK], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    (onnx,) = (tmp_path / "run").rglob("*.onnx")
    assert onnx.stat().st_size > 0
    again = CliRunner().invoke(app, ["differentiate", *folder, *WORDS, "--json"], catch_exceptions=False)
    assert json.loads(again.stdout)["genes"] == found["genes"]
    other = CliRunner().invoke(app, ["differentiate", *folder, *WORDS[:2], "--method", "darts"])
    assert isinstance(other.exception, StateError)


def test_options_of_a_method_are_numbers() -> None:
    assert options(["temperature=0.5", "values=2"]) == {"temperature": 0.5, "values": 2}
    with pytest.raises(ConfigError, match=r"'temperature'; it has to be like"):
        options(["temperature"])
