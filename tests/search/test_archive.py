from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from search.archive import Archive
from search.objective import Objective
from supernet.errors import StateError
from tests.search import synthetic

SPACE = synthetic.space()
TWO = synthetic.objectives()[:2]
GENES = SPACE.largest().genes


def _recorded(path: Path) -> Path:
    with Archive(path, SPACE, TWO) as archive:
        archive.record(SPACE.smallest().genes, np.array([0.1 + 0.2, 1.0]))
        archive.record(GENES, np.array([np.nan, 2.0]))
    return path


def test_what_was_recorded_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    with Archive(_recorded(tmp_path / "a"), SPACE, TWO) as archive:
        assert len(archive) == 2
        assert archive.row(SPACE.smallest().genes).tolist() == [0.1 + 0.2, 1.0]
        np.testing.assert_array_equal(archive.row(GENES), [np.nan, 2.0])


def test_a_later_line_replaces_an_earlier_one(tmp_path: Path) -> None:
    path = _recorded(tmp_path / "a")
    with Archive(path, SPACE, TWO) as archive:
        archive.record(GENES, np.array([3.0, 2.0]))
        assert archive.row(GENES).tolist() == [3.0, 2.0]
    with Archive(path, SPACE, TWO) as archive:
        assert len(archive) == 2
        assert archive.row(GENES).tolist() == [3.0, 2.0]


@pytest.mark.parametrize("torn", [b'{"genes": [0', b'{"genes": []}', b"\x00\x00\n"])
def test_a_torn_last_line_is_dropped_with_a_word(
    torn: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _recorded(tmp_path / "a")
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with caplog.at_level(logging.WARNING), Archive(path, SPACE, TWO) as archive:
        assert len(archive) == 2
    assert "torn" in caplog.text
    assert path.read_bytes() == whole


def test_a_torn_header_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b'{"form')
    assert len(_recorded(path).read_bytes().splitlines()) == 3


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = _recorded(tmp_path / "a")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"nonsense\n" + lines[2])
    with pytest.raises(StateError, match="damaged at line 2"):
        Archive(path, SPACE, TWO)


def test_genes_that_do_not_fit_their_id_are_noticed(tmp_path: Path) -> None:
    path = _recorded(tmp_path / "a")
    lines = path.read_text().splitlines()
    entry = json.loads(lines[1])
    entry["genes"][0] = 1
    path.write_text("\n".join([lines[0], json.dumps(entry), lines[2], ""]))
    with pytest.raises(StateError, match="line 2: genes and id disagree"):
        Archive(path, SPACE, TWO)


def test_an_archive_of_another_space_is_refused(tmp_path: Path) -> None:
    other = type(SPACE)(SPACE.choices[:3])
    with pytest.raises(StateError, match=f'another space: "{SPACE.fingerprint}", now "{other.fingerprint}"'):
        Archive(_recorded(tmp_path / "a"), other, TWO)


def test_an_archive_of_other_objectives_is_refused(tmp_path: Path) -> None:
    in_seconds = Objective("latency", "s", "min", synthetic.latency_ms)
    with pytest.raises(StateError, match="objectives"):
        Archive(_recorded(tmp_path / "a"), SPACE, [TWO[0], in_seconds])
    slow_is_good = Objective("latency", "ms", "max", synthetic.latency_ms)
    with pytest.raises(StateError, match="objectives"):
        Archive(tmp_path / "a", SPACE, [TWO[0], slow_is_good])


def test_an_archive_of_other_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="subject"):
        Archive(_recorded(tmp_path / "a"), SPACE, TWO, {"weights": "0123"})
    with Archive(tmp_path / "b", SPACE, TWO, {"weights": "0123"}):
        pass
    with pytest.raises(StateError, match="subject"):
        Archive(tmp_path / "b", SPACE, TWO, {"weights": "4567"})


def test_a_file_that_is_no_archive_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text('{"a": 1}\n')
    with pytest.raises(StateError, match="no archive"):
        Archive(path, SPACE, TWO)
    assert path.read_text() == '{"a": 1}\n'


def test_two_writers_do_not_share_an_archive(tmp_path: Path) -> None:
    with Archive(tmp_path / "a", SPACE, TWO), pytest.raises(StateError, match="another process"):
        Archive(tmp_path / "a", SPACE, TWO)


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"cannot write .*file/a"):
        Archive(tmp_path / "file" / "a", SPACE, TWO)
