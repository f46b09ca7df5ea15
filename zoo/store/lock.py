"""One process at a time, on one machine; a killed one lets go by itself."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from supernet.errors import StateError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of that file, which is made when it is missing; waits for its turn.

    Raises:
        StateError: when the place cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise StateError(
            f"cannot write {path}: {error.strerror}; choose a folder that can be written to"
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
