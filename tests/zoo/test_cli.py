"""The console command, as a person types it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from supernet.errors import SupernetError
from tests.zoo import made
from zoo.cli import app
from zoo.pipeline.options import RunOptions
from zoo.pipeline.run import Run, open_run

QUICK = [
    *("--set", "train.epochs=1"),
    *("--set", "profile.subnets=10"),
    *("--set", "profile.seconds=1"),
    *("--set", "search.evaluations=12"),
    *("--set", "search.population=6"),
]


def refused(*words: str) -> str:
    """The message a command ends with."""
    result = CliRunner().invoke(app, list(words))
    assert isinstance(result.exception, SupernetError), result.output
    return str(result.exception)


@pytest.mark.parametrize("command", ["quickstart", "train", "profile", "search", "export"])
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "--run" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "folder:nowhere"), "nowhere"),
        (("--data", "digit"), "did you mean 'digits'"),
        (("--set", "train.epoch=2"), "did you mean 'epochs'"),
        (("--set", "supernet.model=mobil"), "did you mean 'mobile'"),
        (("--config", "nowhere.toml"), "nowhere.toml"),
        (("--set", "train.strategy=sandwhich"), "did you mean 'sandwich'"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_one(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    assert message in refused("train", "--run", str(tmp_path / "run"), *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words",
    [
        *((command, "--run", "") for command in ("quickstart", "train", "profile", "search", "export")),
        *(("zoo", command, "--run", "") for command in ("list", "pull", "verify")),
        *(("zoo", command, "--store", "") for command in ("list", "pull", "verify")),
        ("zoo", "pull", "--into", ""),
    ],
    ids=" ".join,
)
def test_a_blank_folder_is_refused_and_nothing_written(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search("names no (folder|zoo)", refused(*words))
    assert not list(tmp_path.iterdir())


def test_every_command_without_a_run_means_the_one_used_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "name one with --run" in refused("zoo", "list")
    for name in ("a", "b"):
        open_run(Path("runs") / name).keep()
    assert "runs/b" in refused("zoo", "list")
    assert "runs/a" in refused("profile", "--run", "runs/a")
    for command in (["profile"], ["search"], ["export"], ["zoo", "list"], ["zoo", "pull"], ["zoo", "verify"]):
        assert "runs/a" in refused(*command)


def test_verifying_says_what_it_cannot_know_and_fails_without_an_index(tmp_path: Path) -> None:
    store = made.store(tmp_path, made.manifest())
    words = ["--store", str(store.folder)]
    said = CliRunner().invoke(app, ["zoo", "verify", *words], catch_exceptions=False).output
    assert "every byte is as the index says" in said
    assert "who wrote index.json" in said and "sha256 of index.json" in said
    (store.folder / "index.json").unlink()
    assert "reindex" in refused("zoo", "verify", *words)
    assert "1 entry" in CliRunner().invoke(app, ["zoo", "reindex", *words], catch_exceptions=False).output
    shutil.copytree(store.folder / "entries" / "digits-a", store.folder / "entries" / "digits-b")
    assert "damaged, missing or not listed: 1 file" in refused("zoo", "verify", *words)


def test_pulling_draws_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERNET_HOME", str(tmp_path / "home"))
    store = made.store(tmp_path, made.manifest())
    words = ["zoo", "pull", "digits-a", "--store", str(store.folder)]
    said = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert re.search(r"pulling .*README\.md", said)


@pytest.mark.parametrize("command", ["profile", "search", "export"])
def test_a_step_without_the_one_before_says_which_to_run(tmp_path: Path, command: str) -> None:
    assert f"supernet train --run {tmp_path}" in refused(command, "--run", str(tmp_path))


def test_a_command_to_run_next_can_be_pasted_whatever_the_folder_is_called(tmp_path: Path) -> None:
    run = tmp_path / "my run's $1"
    said = refused("profile", "--run", str(run))
    assert shlex.split(said.partition("run this first: ")[2]) == ["supernet", "train", "--run", str(run)]
    assert shlex.split(Run(run, RunOptions()).command("zoo pull", "--into", "a b")) == [
        *("supernet", "zoo", "pull", "--run", str(run), "--into", "a b")
    ]


def test_the_version_is_that_of_the_distribution() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"supernet {version('supernet')}\n"


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("supernet tr", "train"),
        ("supernet zoo pu", "pull"),
        ("supernet train --set train.ep", "train.epochs="),
    ],
)
def test_the_shell_completes_commands_and_options(words: str, completed: str) -> None:
    shell = {"_SUPERNET_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert CliRunner().invoke(app, [], prog_name="supernet", env=shell).output == f"{completed}\n"


def test_every_command_talks_in_words_or_json_or_not_at_all() -> None:
    groups = ("zoo", "device")
    for words in ([], *([group] for group in groups)):
        listed = CliRunner().invoke(app, [*words, "--help"]).output
        for command in re.findall(r"^│ (\w+) ", listed, re.MULTILINE):
            said = CliRunner().invoke(app, [*words, command, "--help"]).output
            assert command in groups or ("--json" in said and "--quiet" in said), command


def test_settings_can_be_had_as_json() -> None:
    result = CliRunner().invoke(app, ["settings", "device.name", "--json"])
    ((setting,), names) = json.loads(result.stdout).values()
    assert setting["key"] == "device.name" and "what to call the device" in setting["meaning"] and names == []


def test_an_error_is_one_line_on_standard_error(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "zoo.cli", "train", "--run", str(tmp_path / "run"), "--data", "digit"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("supernet: ")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_whole_road_can_be_walked_twice(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    first = CliRunner().invoke(app, ["quickstart", "--run", run, *QUICK], catch_exceptions=False)
    assert "every hash checked" in first.output
    again = CliRunner().invoke(app, ["quickstart", "--run", run], catch_exceptions=False)
    assert "(0 of them now" in again.output
    CliRunner().invoke(
        app, ["search", "--run", run, "--set", "search.evaluations=16"], catch_exceptions=False
    )
    more = CliRunner().invoke(app, ["export", "--run", run], catch_exceptions=False)
    assert "published in" in more.output
    assert (tmp_path / "run" / "front.png").stat().st_size > 10_000
    limit = ["--max-latency-ms", "0.000001"]
    assert "nearest" in refused("search", "--run", run, *limit)
    assert "nearest" in refused("zoo", "pull", "--run", run, *limit)
    assert "max_latency_ms" not in (tmp_path / "run" / "config.toml").read_text()
    listed = CliRunner().invoke(app, ["zoo", "list", "--run", run], catch_exceptions=False)
    assert "entries" in listed.output
    verified = CliRunner().invoke(app, ["zoo", "verify", "--run", run], catch_exceptions=False)
    assert "every byte is as the index says" in verified.output
    onnx = next((tmp_path / "run" / "zoo").rglob("*.onnx"))
    damaged = bytearray(onnx.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    onnx.chmod(0o644)
    onnx.write_bytes(damaged)
    assert "damaged" in refused("zoo", "verify", "--run", run)
