"""A training that is killed wherever it may be, and started again, ends at the bytes of one that was left alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from supernet.checkpoint import CHECKPOINT, read_checkpoint


def _killed(strategy: str, epochs: int, seconds: float, kills: list[str], folder: Path) -> None:
    words = [strategy, str(epochs), str(seconds), ",".join(kills), str(folder)]
    command = [sys.executable, "-m", "tests.supernet.killed", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line.split() for line in done.stdout.splitlines()]
    assert [line[-1] for line in said] == ["0", *[str(int(signal.SIGKILL))] * len(kills), "0"], done.stderr
    whole, parts = (folder / name / CHECKPOINT for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    tensors, document = read_checkpoint(parts)
    assert document["step"] == 5 * epochs and document["strategy_state"]
    assert len(document["history"]) == epochs
    assert any(name.startswith("optimizer/") for name in tensors)
    assert not list((folder / "parts").glob("good*"))


@pytest.mark.slow
def test_two_kills_leave_no_trace(tmp_path: Path) -> None:
    _killed("shift", 2, 0.0, ["lesson:3", "sync:2"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 60.0])
@pytest.mark.parametrize("strategy", ["shift", "preferred"])
def test_ten_kills_leave_no_trace(tmp_path: Path, strategy: str, seconds: float) -> None:
    rng = Random(f"{strategy}/{seconds}")
    if seconds:  # only the end of an epoch is kept: some kills lose steps, some get beyond it
        kills = [f"{rng.choice(['step', 'lesson'])}:{rng.randint(1, 6)}" for _ in range(10)]
    else:
        kills = [f"{rng.choice(['step', 'lesson', 'sync'])}:{rng.randint(1, 3)}" for _ in range(10)]
    _killed(strategy, 8, seconds, kills, tmp_path)
