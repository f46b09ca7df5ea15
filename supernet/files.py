"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from supernet.errors import StateError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomically(path: Path, content: bytes | str) -> Path:
    """Write beside, sync, rename: after a crash the file is the old one or the new one, whole.

    Whatever else ends the writing, Ctrl-C for one, leaves nothing beside it.

    Args:
        path: where to; missing folders are made.
        content: bytes, or text written as UTF-8.

    Raises:
        StateError: when the place cannot be written to.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        advice = "free some space" if error.errno in _FULL else "choose a folder that can be written to"
        raise StateError(f"cannot write {path}: {error.strerror}; {advice}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return path
