"""Whether a store still holds what was published, byte for byte."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from supernet.errors import StateError
from zoo.store.index import entry_file, read_index
from zoo.store.local import LocalStore
from zoo.store.manifest import MANIFEST, parse
from zoo.store.protocol import Store


@dataclass(frozen=True)
class Damage:
    """A file that is not what it should be.

    Args:
        entry: id.
        file: its path in the entry.
        expected: SHA-256.
        found: SHA-256, or what is wrong in words.
    """

    entry: str
    file: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.entry}/{self.file}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True)
class Verification:
    """What a check of a whole store found: how much was read, and what is damaged."""

    entries: int
    files: int
    bytes: int
    damaged: tuple[Damage, ...]


def verify(store: Store) -> Verification:
    """Read every byte of every entry and compare its hash.

    Raises:
        StateError: when the index itself is damaged or missing.
    """
    index = read_index(store)
    damaged: list[Damage] = []
    files = size = 0
    for entry, sha256 in sorted(index.entries.items()):
        content, damage = _read(store, entry, MANIFEST, sha256)
        files, size = files + 1, size + len(content)
        if damage is None:
            try:
                manifest = parse(content, f"{entry}/{MANIFEST}")
            except StateError as error:
                damage = Damage(entry, MANIFEST, sha256, str(error))
        if damage is not None:
            damaged.append(damage)
            continue
        for file in manifest.files:
            count, wrong = _count(store, entry, file.path, file.sha256)
            files, size = files + 1, size + count
            damaged += [wrong] if wrong else []
        damaged += _strangers(store, entry, {MANIFEST, *(file.path for file in manifest.files)})
    return Verification(len(index.entries), files, size, tuple(damaged))


def _read(store: Store, entry: str, path: str, sha256: str) -> tuple[bytes, Damage | None]:
    try:
        content = b"".join(store.chunks(entry_file(entry, path))[1])
    except StateError as error:
        return b"", Damage(entry, path, sha256, str(error))
    found = hashlib.sha256(content).hexdigest()
    return content, None if found == sha256 else Damage(entry, path, sha256, found)


def _count(store: Store, entry: str, path: str, sha256: str) -> tuple[int, Damage | None]:
    digest, count = hashlib.sha256(), 0
    try:
        for piece in store.chunks(entry_file(entry, path))[1]:
            digest.update(piece)
            count += len(piece)
    except StateError as error:
        return count, Damage(entry, path, sha256, str(error))
    found = digest.hexdigest()
    return count, None if found == sha256 else Damage(entry, path, sha256, found)


def _strangers(store: Store, entry: str, listed: set[str]) -> list[Damage]:
    if not isinstance(store, LocalStore):
        return []
    folder = store.folder / "entries" / entry
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    return [
        Damage(entry, path, "no such file", "a file the manifest does not list")
        for path in sorted(present - listed)
    ]
