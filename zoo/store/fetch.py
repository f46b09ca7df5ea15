"""Downloads that are whole or absent: a cache of files named by their SHA-256."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from supernet.errors import StateError
from supernet.files import write_atomically
from supernet.lock import locked
from zoo.store.index import Index, parse_index, read_index
from zoo.store.manifest import hash_file
from zoo.store.protocol import InterruptedTransferError, Store

log = logging.getLogger(__name__)
ATTEMPTS = 4


def default_home() -> Path:
    """``$SUPERNET_HOME``, else ``supernet`` in the user's cache folder."""
    home = os.environ.get("SUPERNET_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() if home else Path(cache).expanduser() / "supernet"


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
        kept = self.home / "indexes" / f"{hashlib.sha256(store.address.encode()).hexdigest()[:16]}.json"
        if self.offline:
            if not kept.exists():
                raise StateError(f"offline, and the index of {store.address} was never read; go online once")
            return parse_index(kept.read_bytes(), str(kept))
        index = read_index(store)
        write_atomically(kept, index.to_bytes())
        return index

    def fetch(self, store: Store, name: str, sha256: str, size: int | None = None) -> Path:
        """A file of a store, whole and checked; read from the cache when it is there.

        Two processes that want the same file wait for each other and download it once. A transfer that
        was cut off goes on where it stopped, in this call or in the next one.

        Args:
            name: path inside the store.
            sha256: what it must hash to.
            size: what it must measure, where that is known.

        Raises:
            StateError: when its bytes are not those expected; what was expected and found is named, and
                nothing is kept.
        """
        blob = self.blob(sha256)
        with locked(self.home / "locks" / f"{sha256[:2]}.lock"):
            if blob.exists():
                if hash_file(blob) == sha256:
                    return blob
                log.warning("%s in the cache was damaged; fetching it again", name)
                blob.unlink()
            if store.remote and self.offline:
                raise StateError(f"offline, and {name} of {store.address} is not in the cache {self.home}")
            _download(store, name, sha256, size or 0, blob)
        return blob


def _download(store: Store, name: str, sha256: str, size: int, blob: Path) -> None:
    part = blob.with_suffix(".part")
    for attempt in range(1, ATTEMPTS + 1):
        resumed = part.exists() and part.stat().st_size > 0
        try:
            _append(store, name, part)
            if part.stat().st_size < size:
                raise InterruptedTransferError(
                    f"{name} of {store.address} ended after {part.stat().st_size:,} of {size:,} bytes; "
                    f"ask again and it goes on from there"
                )
        except InterruptedTransferError as error:
            if attempt == ATTEMPTS:
                raise
            log.info("%s (attempt %d of %d)", error, attempt, ATTEMPTS)
            continue
        found = hash_file(part)
        if found == sha256:
            part.replace(blob)
            return
        part.unlink()
        # what an earlier process left may have been of another day; only a file read in one go is judged
        if not resumed or attempt == ATTEMPTS:
            raise StateError(
                f"{name} of {store.address} is damaged: expected sha256 {sha256}, found {found}; "
                f"it was not kept, ask its publisher for the file again"
            )


def _append(store: Store, name: str, part: Path) -> None:
    start = part.stat().st_size if part.exists() else 0
    begins, pieces = store.chunks(name, start)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("r+b" if begins else "wb") as file:
            file.seek(begins)
            for piece in pieces:
                file.write(piece)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StateError(f"cannot write {part}: {error.strerror}; free some space and pull again") from error
