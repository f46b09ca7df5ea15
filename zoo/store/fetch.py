"""Downloads that are whole or absent: a cache of files named by their SHA-256."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path

from supernet.errors import StateError
from supernet.files import write_atomically
from supernet.home import default_home
from supernet.lock import locked
from zoo.store.index import Index, parse_index, read_index
from zoo.store.manifest import MANIFEST_BYTES, FileRecord, hash_file
from zoo.store.protocol import (
    InterruptedTransferError,
    OversizeError,
    StalledTransferError,
    Store,
    within,
)

log = logging.getLogger(__name__)
ATTEMPTS = 4
_MORE_ROOM = "free some space, or choose another place with SUPERNET_HOME, and pull again"

Progress = Callable[[int], None]
"""Called with the bytes of a file that are there."""


class Cache:
    """What was downloaded.

    Args:
        home: where; `default_home` when None.
        offline: answer from the cache and from local stores only.
    """

    def __init__(self, home: Path | None = None, *, offline: bool = False) -> None:
        self.home = home or default_home()
        self.offline = offline

    def blob(self, sha256: str) -> Path:
        """Where the file with that hash lies, or would."""
        return self.home / "blobs" / "sha256" / sha256[:2] / sha256

    def index(self, store: Store) -> Index:
        """The index of a store; the one last seen when offline.

        Raises:
            StateError: when it is damaged or cannot be had.
        """
        if not store.remote:
            return read_index(store)
        kept = self.home / "indexes" / f"{_digest(store.address)}.json"
        if self.offline:
            if not kept.exists():
                raise StateError(f"offline, and the index of {store.address} was never read; go online once")
            return parse_index(kept.read_bytes(), str(kept))
        index = read_index(store)
        write_atomically(kept, index.to_bytes())
        return index

    def locked(self, folder: Path) -> AbstractContextManager[object]:
        """Wait until nobody else puts files into that folder, which needs no lock file in it."""
        return locked(self.home / "locks" / f"{_digest(folder.absolute())}.lock")

    def check_space(self, files: Iterable[FileRecord]) -> None:
        """Make sure that what is missing of these files fits on the disk.

        Raises:
            StateError: when it does not, or the cache cannot be written to.
        """
        with self._writing("the files"):
            self.home.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.home).free
            missing = sum(file.size - self._had(file) for file in files)
        if missing > free:
            raise StateError(
                f"the files have {missing:,} bytes and {self.home} has room for {free:,}; {_MORE_ROOM}"
            )

    def _had(self, file: FileRecord) -> int:
        """Bytes of a file that are there, whole or in part."""
        blob = self.blob(file.sha256)
        return min(file.size, max(map(_length, (blob, blob.with_suffix(".part")))))

    def fetch(
        self, store: Store, name: str, sha256: str, size: int | None = None, progress: Progress | None = None
    ) -> Path:
        """A file of a store, whole and checked; read from the cache when it is there.

        Two processes that want the same file wait for each other and download it once. A transfer that
        was cut off goes on where it stopped, in this call or in the next one.

        Args:
            name: path inside the store.
            sha256: what it must hash to.
            size: what it must measure; None for a manifest, whose size nobody promises.
            progress: told after every piece.

        Raises:
            StateError: when its bytes are not those expected; what was expected and found is named, and
                nothing is kept. When it is longer than promised, likewise, at the first byte too many. When it
                cannot be had or kept; what came by then is, and the next call goes on from there.
        """
        blob = self.blob(sha256)
        part = blob.with_suffix(".part")
        with locked(self.home / "locks" / f"{sha256[:2]}.lock"), self._writing(name):
            if blob.exists():
                if hash_file(blob) == sha256:
                    return blob
                log.warning("%s in the cache was damaged; fetching it again", name)
                blob.unlink()
            if store.remote and self.offline:
                raise StateError(f"offline, and {name} of {store.address} is not in the cache {self.home}")
            part.parent.mkdir(parents=True, exist_ok=True)
            try:
                _download(store, name, sha256, size, part, progress)
                part.replace(blob)
            finally:
                if part.exists() and not _length(part):
                    part.unlink()
        return blob

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StateError(f"cannot keep {name} in {self.home}: {error.strerror}; {_MORE_ROOM}") from error


def _download(
    store: Store, name: str, sha256: str, size: int | None, part: Path, progress: Progress | None
) -> None:
    """Bring the part to its end, whatever was there of it."""
    for attempt in range(1, ATTEMPTS + 1):
        had = _length(part)
        last = attempt == ATTEMPTS
        try:
            if not had or had != size:
                _append(store, name, part, size, progress)
        except InterruptedTransferError as error:
            stalled = isinstance(error, StalledTransferError)
            if last or (stalled and _length(part) <= had):
                raise
            tell = log.warning if stalled else log.info
            tell("%s (attempt %d of %d)", error, attempt, ATTEMPTS)
            continue
        except OversizeError:
            part.unlink(missing_ok=True)
            if last or not had:
                raise
            continue
        found = hash_file(part)
        if found == sha256:
            return
        part.unlink()
        # what an earlier process left may have been of another day; only a file read in one go is judged
        if last or not had:
            raise StateError(
                f"{name} of {store.address} is damaged: expected sha256 {sha256}, found {found}; "
                f"it was not kept, ask its publisher for the file again"
            )


def _append(store: Store, name: str, part: Path, size: int | None, progress: Progress | None) -> None:
    """One transfer. What comes is on disk at once, and nothing beyond the promised size ever is."""
    what = f"{name} of {store.address}"
    begins, pieces = store.chunks(name, _length(part))
    pieces = within(pieces, MANIFEST_BYTES if size is None else size, what, begins=begins)
    first = next(pieces, b"")
    with part.open("r+b" if begins else "wb") as file:
        file.seek(begins)
        for piece in chain([first], pieces):
            file.write(piece)
            file.flush()
            if progress:
                progress(file.tell())
        file.truncate()
        os.fsync(file.fileno())
    if _length(part) < (size or 0):
        raise InterruptedTransferError(
            f"{what} ended after {_length(part):,} of {size:,} bytes; ask again and it goes on from there"
        )


def _digest(place: str | Path) -> str:
    return hashlib.sha256(str(place).encode(errors="surrogateescape")).hexdigest()[:16]


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
