"""Exports side by side are those made one by one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from hardware.pool import ExportJob, export_all
from tests.tiny import tiny_images, tiny_supernet


def jobs(folder: Path) -> Iterator[ExportJob]:
    net = tiny_supernet()
    for seed in range(2):
        subnet = net.extract(net.space.sample(Random(seed)))
        yield ExportJob(subnet, tiny_images(), folder / f"{seed}.onnx", {"seed": str(seed)})


@pytest.mark.slow
def test_other_processes_write_the_same_bytes(tmp_path: Path) -> None:
    alone = list(export_all(jobs(tmp_path / "alone")))
    pooled = list(export_all(jobs(tmp_path / "pooled"), workers=2))
    assert [file.sha256 for file in pooled] == [file.sha256 for file in alone]
    assert [file.path.name for file in pooled] == ["0.onnx", "1.onnx"]


ENDLESS = """
from pathlib import Path
from hardware.pool import export_all
from tests.hardware.test_pool import jobs

if __name__ == "__main__":
    for _ in export_all((job for _ in range(8) for job in jobs(Path("{folder}"))), workers=2):
        print("one", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="counts processes in /proc")
def test_workers_leave_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS.format(folder=tmp_path))
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"one\n"
        workers = _children(parent.pid)
        assert workers
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def _children(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]
