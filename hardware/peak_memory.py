"""Memory that a network takes in ONNX Runtime: by how much a fresh process grows while it loads and runs it.

Counted are the weights, what the runtime packs of them, activations, and the parts of its library that this wakes:
some nine MiB, and most of a tiny network's. The process is one of its own, as whoever measures holds memory already
that would be used again and not be seen. Only Linux tells the most that a process had; elsewhere the peak is not
available: never zero.
"""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CALLS = 3
"""The second takes more than the first where ONNX Runtime then reserves in one piece what the first had needed."""
log = logging.getLogger(__name__)


def peak_mib(file: Path, arrays: Sequence[NDArray[Any]], optimisation: str, threads: int) -> float | None:
    """The most memory that the file of a network takes, in MiB; None where the system does not tell.

    Args:
        file: as ONNX.
        arrays: what it is run with, in the order of its inputs; they are not counted.
        optimisation: as `hardware.onnx_session.OnnxSession` takes it.
        threads: of one forward pass.
    """
    given = io.BytesIO()
    np.savez(given, *arrays)
    places = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__, str(file), optimisation, str(threads)],
        input=given.getvalue(), capture_output=True, check=False, env=os.environ | {"PYTHONPATH": places},
    )  # fmt: skip
    if done.returncode:
        log.info("the peak memory of %s is not available: %s", file, done.stderr.decode(errors="replace"))
        return None
    return int(done.stdout) / 2**20


def resident_bytes() -> int:
    """Memory of this process that is in use."""
    return _status("VmRSS")


def peak_bytes() -> int:
    """The most it was since `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Begin the high-water mark anew."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def _main(file: str, optimisation: str, threads: str) -> None:
    """The process of its own: arrays come in, bytes go out."""
    from hardware.onnx_session import OnnxSession

    with np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False) as found:
        arrays = [found[name] for name in found.files]
    forget_peak()
    before = resident_bytes()
    session = OnnxSession(file, optimisation, int(threads))
    session.give(dict(zip(session.inputs, arrays, strict=True)))
    session.burst(CALLS - 1)
    print(peak_bytes() - before)


if __name__ == "__main__":
    _main(*sys.argv[1:])
