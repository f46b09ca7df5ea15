"""One process at a time, on one machine; a killed one lets go by itself."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from supernet.errors import StateError


@contextmanager
def locked(path: Path, *, busy: str | None = None) -> Iterator[IO[bytes]]:
    """Hold the lock of that file, which is made when it is missing.

    Args:
        busy: what to say when somebody else holds it; None waits for its turn.

    Yields:
        The open file, for `is_removed`.

    Raises:
        StateError: when the place cannot be written to, or somebody else holds the lock.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise StateError(
            f"cannot write {path}: {error.strerror}; choose a folder that can be written to"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError as error:
            raise StateError(busy) from error
        yield file


def is_removed(file: IO[bytes]) -> bool:
    """Whether an open file, or the folder that held it, was removed meanwhile."""
    return os.fstat(file.fileno()).st_nlink == 0
