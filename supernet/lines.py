"""Files that grow by a line at a time and survive a crash at any moment.

The first line is a heading that says what the others belong to, every line is a JSON document, and lines are
only ever appended. A crash can tear the last line and no other; it is dropped when the file is opened again.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from supernet.errors import StateError
from supernet.versions import check_version

log = logging.getLogger(__name__)


class LineFile:
    """An open file of lines, which no other process opens meanwhile.

    A context manager; leaving it makes sure that everything is on disk.

    Args:
        path: the file; it is made, with its folder, when there is none.
        heading: what the lines belong to, as plain JSON values; one that is there must agree on every key.
        read: given every document below the heading, in order. A `ValueError`, `KeyError` or `TypeError` of
            its says that the line is damaged.
        what: what to call the file in messages: ``"archive of a search"``.
        version: of its format, written into the heading; a heading without one is of version 1.

    Raises:
        StateError: when the file has another heading or version or is something else, when a line other than the last
            is damaged, when another process has it open, or when the place cannot be written to.
    """

    def __init__(
        self,
        path: Path,
        heading: Mapping[str, Any],
        read: Callable[[Any], None],
        *,
        what: str,
        version: int = 1,
    ) -> None:
        self.path, self.what, self.version = path, what, version
        self._file = self._open()
        try:
            self._read(json.loads(json.dumps(heading)), read)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> LineFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, document: Mapping[str, Any]) -> None:
        """Add a line; a crash of this process leaves it whole, and `sync` makes it survive a power cut.

        Raises:
            StateError: when it cannot be written.
        """
        try:
            self._file.write(json.dumps(document).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise StateError(
                f"cannot write {self.path}: {error.strerror}; free some space and run again"
            ) from error

    def sync(self) -> None:
        """Make sure that what was appended survives a power cut."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync, and let others open the file."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def _open(self) -> IO[bytes]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("a+b")
        except OSError as error:
            raise StateError(
                f"cannot write {self.path}: {error.strerror}; choose a folder that can be written to"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise StateError(
                f"{self.path} is being written by another process; wait for it, or choose another folder"
            ) from error
        return file

    def _read(self, heading: dict[str, Any], read: Callable[[Any], None]) -> None:
        self._file.seek(0)
        lines = self._file.read().splitlines(keepends=True)
        if lines and not _is_whole(lines[-1]):
            log.warning("%s: dropped its last line, which a crash had torn", self.path)
            self._file.truncate(sum(map(len, lines[:-1])))
            lines.pop()
        if not lines:
            self.append({"format": self.version} | heading)
            self.sync()
            return
        self._compare(lines[0], heading)
        for number, line in enumerate(lines[1:], start=2):
            try:
                read(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise StateError(
                    f"{self.path} is damaged at line {number}: {error}; remove that line"
                ) from error

    def _compare(self, line: bytes, heading: Mapping[str, Any]) -> None:
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict) or not heading.keys() & found.keys():
            raise StateError(f"{self.path} is no {self.what}; choose another folder")
        check_version(
            {"format": 1} | found,
            self.version,
            what=f"the {self.what} {self.path}",
            older="move it away to begin anew",
        )
        for key, wanted in heading.items():
            if found.get(key) != wanted:
                raise StateError(
                    f"{self.path} is the {self.what} with another {key}: {_short(found.get(key))}, "
                    f"now {_short(wanted)}; choose another folder, or move it away to begin anew"
                )


def _is_whole(line: bytes) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else f"{text[:77]}..."
