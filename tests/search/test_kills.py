"""A search that is killed wherever it may be, and started again, ends where one that was left alone ends."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

PROPOSED = "SELECT goals, searcher, seed, known, genes FROM proposals ORDER BY step"
KNOWN = "SELECT name, depends, genes, value, status FROM results JOIN quantities ON quantity = id ORDER BY name, genes"


@pytest.mark.slow
@pytest.mark.parametrize("subject", ["supernet", "workers"])
def test_twenty_kills_leave_no_trace(subject: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.search.killed", subject, "11", "20", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ends = [int(line.split()[-1]) for line in done.stdout.splitlines()]
    killed = ends[1:-1]
    assert ends[0] == ends[-1] == 0, done.stderr
    assert len(killed) == 20 and killed.count(signal.SIGKILL) >= 15 and set(killed) <= {0, signal.SIGKILL}
    for query in (PROPOSED, KNOWN):
        whole, parts = (_rows(tmp_path / name, query) for name in ("whole", "parts"))
        assert whole == parts and len(whole) >= 5


def _rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as db:
        return db.execute(query).fetchall()
