"""A file that grows by a line at a time loses the line a crash has torn, and nothing else."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from supernet.errors import StateError
from supernet.lines import LineFile

HEADING = {"of": "pears", "sizes": (1, 2)}


def opened(path: Path, **heading: object) -> LineFile:
    return LineFile(path, HEADING | heading, lambda document: None, what="list of fruit")


def read(path: Path) -> list[Any]:
    documents: list[Any] = []
    LineFile(path, HEADING, documents.append, what="list of fruit").close()
    return documents


def written(path: Path) -> Path:
    with opened(path) as lines:
        lines.append({"a": 0.1 + 0.2})
        lines.append({"a": float("nan")})
    return path


def test_what_was_appended_is_read_back_in_order(tmp_path: Path) -> None:
    path = written(tmp_path / "deep" / "file")
    with opened(path) as lines:
        lines.append({"b": 1})
    first, second, third = read(path)
    assert (first, third) == ({"a": 0.1 + 0.2}, {"b": 1})
    assert math.isnan(second["a"])


def test_the_file_is_plain_json_lines_below_a_heading_with_its_format(tmp_path: Path) -> None:
    lines = written(tmp_path / "file").read_text().splitlines()
    assert [json.loads(line) for line in lines[:2]] == [
        {"format": 1, "of": "pears", "sizes": [1, 2]},
        {"a": 0.1 + 0.2},
    ]


@pytest.mark.parametrize("torn", [b'{"a": 3', b'{"a": 3}', b"\x00\x00\n"])
def test_a_torn_last_line_is_dropped_with_a_word(
    torn: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path / "file")
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with caplog.at_level(logging.WARNING), opened(path) as lines:
        lines.append({"a": 4})
    assert "torn" in caplog.text
    assert path.read_bytes() == whole + b'{"a": 4}\n'
    assert len(read(path)) == 3


def test_a_damaged_line_in_the_middle_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    path = written(tmp_path / "file")
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"nonsense\n" + third)
    with pytest.raises(StateError, match="damaged at line 2"):
        opened(path)
    assert path.read_bytes() == first + b"nonsense\n" + third
    assert second


@pytest.mark.parametrize("error", [ValueError("sour"), KeyError("sour"), TypeError("sour")])
def test_a_line_that_its_reader_does_not_take_is_named_and_the_file_is_let_go(
    error: Exception, tmp_path: Path
) -> None:
    path = written(tmp_path / "file")

    def refuse(document: Any) -> None:
        raise error

    with pytest.raises(StateError, match=r"damaged at line 2: .*sour"):
        LineFile(path, HEADING, refuse, what="list of fruit")
    assert len(read(path)) == 2


def test_another_heading_is_refused_with_both_values(tmp_path: Path) -> None:
    path = written(tmp_path / "file")
    with pytest.raises(StateError, match='list of fruit with another of: "pears", now "plums"; choose'):
        opened(path, of="plums")
    with pytest.raises(StateError, match="with another colour: null, now "):
        opened(path, colour="green")


def test_another_format_is_refused_and_a_heading_without_one_is_of_the_first(tmp_path: Path) -> None:
    path = written(tmp_path / "file")
    with pytest.raises(
        StateError, match=r"has format 1, .* reads 2; an older version wrote it: move it away"
    ):
        LineFile(path, HEADING, print, what="list of fruit", version=2)
    path.write_text(json.dumps(HEADING) + "\n")
    opened(path).close()


@pytest.mark.parametrize("content", ['{"x": 1}\n', "[]\n", "a line\nanother\n{}\n"])
def test_a_file_of_something_else_is_left_alone(content: str, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text(content)
    with pytest.raises(StateError, match="is no list of fruit"):
        opened(path)
    assert path.read_text() == content


def test_two_do_not_write_at_once_and_a_failed_opening_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with opened(path), pytest.raises(StateError, match="being written by another process"):
        opened(path)
    with pytest.raises(StateError, match="another of"):
        opened(path, of="plums")
    opened(path).close()


CHILD = """
import os, signal, sys
from pathlib import Path
from supernet.lines import LineFile
lines = LineFile(Path(sys.argv[1]), {"of": "pears", "sizes": [1, 2]}, print, what="list of fruit")
for i in range(5):
    lines.append({"i": i})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_lines_appended_before_a_kill_are_there_after_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    killed = subprocess.run([sys.executable, "-c", CHILD, str(path)], check=False)
    assert killed.returncode < 0
    assert [document["i"] for document in read(path)] == [0, 1, 2, 3, 4]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"cannot write .*file/a"):
        opened(tmp_path / "file" / "a")
