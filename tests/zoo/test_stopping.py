"""Ctrl-C and SIGTERM end a command with what is kept and how to go on, and leave nothing half written."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from supernet.checkpoint import read_document
from supernet.files import write_atomically
from supernet.trainer import CHECKPOINT
from zoo.cli import app, commands
from zoo.cli.narrator import Narrator
from zoo.cli.session import STOPPING, Session, Stopped, heed_signals
from zoo.pipeline.kept import kept
from zoo.pipeline.progress import Progress
from zoo.pipeline.run import open_run

TINY = {
    "data.resolution": 8,
    "supernet.options.widths": "[8, 8, 16]",
    "supernet.options.depths": "[1, 2]",
    "supernet.options.features": 32,
    "train.epochs": 2,
    "train.batch_size": 256,
    "train.calibration_examples": 64,
    "train.evaluate_examples": 64,
    "train.checkpoint_seconds": 0,
}


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of the test runner, afterwards."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def stopped_at(step: int, number: int) -> Callable[..., object]:
    """A `Narrator.progress` in which this process is sent a signal after a step."""

    @contextmanager
    def progress(self: Narrator) -> Iterator[Progress]:
        def report(part: str, done: int, total: int, words: str = "") -> None:
            if done == step:
                os.kill(os.getpid(), number)

        yield report

    return progress


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_ends_with_what_is_kept_and_the_same_command_goes_on(
    number: int,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "my run"
    words = ["train", "--run", str(run), *(w for k, v in TINY.items() for w in ("--set", f"{k}={v}"))]
    monkeypatch.setattr(sys, "argv", ["supernet", *words])
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(Narrator, "progress", stopped_at(3, number))
        commands.main()
    assert ended.value.code == code
    said = capsys.readouterr().err.strip()
    assert said.startswith(
        f"supernet: stopped; kept in {run}: training up to step 3 (0 of 2 epochs); to go on: "
    )
    assert f"supernet train --run '{run}' --set data.resolution=8" in said and "\n" not in said
    assert not [path for path in run.rglob("*") if path.name.endswith(".part")]
    assert signal.getsignal(number) is signal.SIG_DFL
    on = CliRunner().invoke(app, words, catch_exceptions=False)
    assert "Kept from before: training up to step 3 (0 of 2 epochs)." in on.output
    assert read_document(run / "training" / CHECKPOINT)["step"] == 8
    assert kept(open_run(run)) == {"training": "training up to step 8 (2 of 2 epochs)"}


def test_a_process_that_was_forked_ends_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    heed_signals()
    here, there = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(there, b".")
            signal.pause()
        except BaseException as error:
            os.write(2, repr(error).encode())
        os._exit(0)
    os.read(here, 1)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    assert capfd.readouterr().err == ""


def test_a_file_whose_writing_is_stopped_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object) -> None:
        raise Stopped(signal.SIGINT)

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(Stopped):
        write_atomically(tmp_path / "file", b"half")
    assert list(tmp_path.iterdir()) == []


def test_a_command_without_a_run_says_how_to_begin_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["supernet", "zoo", "verify", "--store", "a store"])
    monkeypatch.setattr(Session, "store", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == 143
    assert capsys.readouterr().err == (
        "supernet: stopped; to begin again: supernet zoo verify --store 'a store'\n"
    )
