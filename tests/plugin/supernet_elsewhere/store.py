"""A store: a folder read into memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zoo.store.protocol import MissingError


class MemoryStore:
    """``elsewhere://FOLDER``, as it was when it was opened."""

    remote = False

    def __init__(self, address: str) -> None:
        self.address = address
        folder = Path(address.removeprefix("elsewhere://"))
        self.files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }

    def chunks(self, name: str, start: int = 0) -> tuple[int, Iterator[bytes]]:
        if name not in self.files:
            raise MissingError(f"{name} is missing")
        return start, iter([self.files[name][start:]])
