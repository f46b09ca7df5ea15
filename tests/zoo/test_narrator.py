"""What came from outside is shown as it is written, and obeyed by nobody."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.zoo import made
from zoo.cli import app
from zoo.cli.narrator import Narrator

HOSTILE = [
    ("[/b]x", "[/b]x"),
    ("[red]x[/red] [link=http://a]y[/link] :bomb:", "[red]x[/red] [link=http://a]y[/link] :bomb:"),
    ("a\\[b]", "a\\[b]"),
    ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
    ("x\nall as published", r"x\nall as published"),
    ("x\rall", r"x\rall"),
    ("\u202egnp.exe", r"\u202egnp.exe"),
    ("\x9b31m", r"\x9b31m"),
    ("\udcff", r"\udcff"),
    ("Grüße, 网络 ± 1 µs", "Grüße, 网络 ± 1 µs"),
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_text_is_shown_as_it_is_written_wherever_it_stands(text: str, shown: str) -> None:
    out = io.StringIO()
    narrator = Narrator(Console(file=out, width=200, highlight=False, force_terminal=False))
    narrator.heading(f"heading {text}")
    narrator.say(f"sentence {text}")
    narrator.table(f"title {text}", [{f"column {text}": f"cell {text}"}])
    with narrator.progress() as progress:
        progress(f"part {text}", 1, 2, f"words {text}")
    said = out.getvalue()
    for place in ("heading", "sentence", "title", "column", "cell", "part", "words"):
        assert f"{place} {shown}" in said
    assert all(line.isprintable() for line in said.splitlines())


def test_a_hostile_device_is_listed_like_any_other(tmp_path: Path) -> None:
    store = made.store(tmp_path, made.manifest("digits-a"), made.manifest("digits-b", device="[/b]\x1b[2Jx"))
    result = CliRunner().invoke(app, ["zoo", "list", "--store", str(store.folder)], catch_exceptions=False)
    assert r"[/b]\x1b[2Jx" in result.output
    assert "digits-a" in result.output


@pytest.mark.slow
def test_an_error_stays_one_line_whatever_it_quotes(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "zoo.cli", "zoo", "list", "--store", f"{tmp_path}/a\n\x1b[2Jb"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert r"a\n\x1b[2Jb" in done.stderr


def test_a_warning_stays_one_line_whatever_it_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    from zoo.cli.commands import Warnings

    record = logging.LogRecord("zoo", logging.WARNING, "", 0, "%s was damaged", ("a\n\x1b[2Jb",), None)
    Warnings().emit(record)
    assert capsys.readouterr().err == "a\\n\\x1b[2Jb was damaged\n"


def test_a_step_that_reports_nothing_leaves_no_line() -> None:
    file = io.StringIO()
    with Narrator(Console(file=file)).progress():
        pass
    assert file.getvalue() == ""
