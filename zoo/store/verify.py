"""Whether a store still holds what was published, byte for byte."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from supernet.errors import StateError
from zoo.store.index import INDEX, Index, entry_file, index_bytes, parse_index
from zoo.store.local import LocalStore
from zoo.store.manifest import MANIFEST, MANIFEST_BYTES, parse
from zoo.store.protocol import Store, within


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
    """What a check of a whole store found.

    Args:
        entries: in its index.
        files: how many were read.
        bytes: likewise.
        damaged: what is not as the index and the manifests say.
        index_sha256: of the index itself, to compare with the publisher's.
        unseen: what this check cannot know, as a sentence.
    """

    entries: int
    files: int
    bytes: int
    damaged: tuple[Damage, ...]
    index_sha256: str
    unseen: str


def verify(store: Store) -> Verification:
    """Read every byte of every entry and compare its hash.

    What it proves is that the files are those the index names. Nothing is signed: numbers that somebody changed
    together with all the hashes above them pass, and only another copy of the index's own hash tells.

    Raises:
        StateError: when the index itself is damaged or missing.
    """
    content = index_bytes(store)
    index = parse_index(content, f"{store.address}/{INDEX}")
    damaged: list[Damage] = []
    files = size = 0
    for entry, sha256 in sorted(index.entries.items()):
        found = _check_entry(store, entry, sha256)
        files, size, damaged = files + found.files, size + found.bytes, damaged + found.damaged
    damaged += _unlisted(store, index)
    digest = hashlib.sha256(content).hexdigest()
    return Verification(len(index.entries), files, size, tuple(damaged), digest, _unseen(store))


@dataclass
class _Checked:
    files: int = 0
    bytes: int = 0
    damaged: list[Damage] = field(default_factory=list)


def _check_entry(store: Store, entry: str, sha256: str) -> _Checked:
    checked = _Checked()
    content = _read(store, entry, MANIFEST, sha256, MANIFEST_BYTES, checked, keep=True)
    if checked.damaged:
        return checked
    try:
        manifest = parse(content, f"{entry}/{MANIFEST}")
        if manifest.id != entry:
            raise StateError(f"the manifest of {manifest.id!r}")
    except StateError as error:
        checked.damaged.append(Damage(entry, MANIFEST, sha256, str(error)))
        return checked
    for file in manifest.files:
        _read(store, entry, file.path, file.sha256, file.size, checked)
    checked.damaged += _strangers(store, entry, {MANIFEST, *(file.path for file in manifest.files)})
    return checked


def _read(
    store: Store, entry: str, path: str, sha256: str, room: int, checked: _Checked, *, keep: bool = False
) -> bytes:
    """Read a file and note what is wrong with it; its bytes, when they are to be kept."""
    digest, kept = hashlib.sha256(), bytearray()
    checked.files += 1
    try:
        for piece in within(store.chunks(entry_file(entry, path))[1], room, path):
            digest.update(piece)
            checked.bytes += len(piece)
            kept += piece if keep else b""
        found = digest.hexdigest()
    except StateError as error:
        found = str(error)
    if found != sha256:
        checked.damaged.append(Damage(entry, path, sha256, found))
    return bytes(kept)


def _strangers(store: Store, entry: str, listed: set[str]) -> list[Damage]:
    if not isinstance(store, LocalStore):
        return []
    folder = store.folder / "entries" / entry
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    return [
        Damage(entry, path, "no such file", "a file the manifest does not list")
        for path in sorted(present - listed)
    ]


def _unlisted(store: Store, index: Index) -> list[Damage]:
    if not isinstance(store, LocalStore):
        return []
    found = "an entry that the index does not list; remove it, or list it with supernet zoo reindex"
    return [Damage(entry, ".", "no such entry", found) for entry in store.unlisted(index)]


def _unseen(store: Store) -> str:
    """What nobody can see in a store that holds hashes and no signatures."""
    more = "" if isinstance(store, LocalStore) else f"; nor whether the server has more than {INDEX} lists"
    return f"who wrote {INDEX}, and so whether numbers were changed together with their hashes{more}"
