"""Runs of pytest that begin at once: each is a fork of a process that has imported what takes seconds.

    python benchmarks/warm.py LIBRARY ...

It is told of a run by a line of JSON, ``{"tree", "words", "said", "cpu_seconds", "seconds"}``, and answers with the
exit status of pytest. Nothing of the repository is imported before the fork: a run imports that of its own tree.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module


def main() -> None:
    """Serve until the input ends."""
    for name in (*sys.argv[1:], "pytest"):
        with suppress(ImportError):
            import_module(name)
    for line in sys.stdin:
        run = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _test(run["tree"], run["words"], run["said"], run["cpu_seconds"])
        print(_ended(pid, run["seconds"]), flush=True)


def _test(tree: str, words: Sequence[str], said: str, cpu_seconds: int) -> None:
    """Run pytest in a tree, in this process, and end it."""
    os.setsid()
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for residual, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
        os.dup2(descriptor, residual)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    os.chdir(tree)
    os.environ["PYTHONPATH"] = sys.path[0] = tree
    status = 70
    try:
        status = int(import_module("pytest").main(list(words)))
    finally:
        sys.stdout.flush()
        os._exit(status)


def _ended(pid: int, seconds: float) -> int:
    """The exit status of a run, negative for the signal that ended it; it is killed when it takes too long."""
    until = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # what it started and left
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.05)


if __name__ == "__main__":
    main()
