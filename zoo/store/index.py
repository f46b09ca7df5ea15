"""The index of a store: which entries it holds, and the hash of each one's manifest."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from supernet.errors import StateError, did_you_mean
from zoo.store.manifest import check_id, check_schema, check_sha256
from zoo.store.protocol import MissingError, Store, read_whole

INDEX = "index.json"
SCHEMA_VERSION = 1
INDEX_BYTES = 64 << 20
"""The most an index may have: room for some 400,000 entries."""

_ANEW = "supernet zoo reindex --store FOLDER writes it anew from the entries"


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The entries of a store: ``{id: sha256 of its manifest}``."""

    entries: dict[str, str]
    schema_version: int = SCHEMA_VERSION

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return json.dumps(msgspec.to_builtins(self), sort_keys=True, indent=1).encode() + b"\n"

    def sha256(self, entry: str) -> str:
        """The hash of an entry's manifest.

        Raises:
            MissingError: when there is no such entry; the message names the nearest.
        """
        if entry not in self.entries:
            raise MissingError(f"the zoo has no entry {entry!r}{did_you_mean(entry, self.entries)}")
        return self.entries[entry]


def read_index(store: Store) -> Index:
    """The index of a store.

    Raises:
        MissingError: when there is no such store, or it has no index.
        StateError: when it is damaged, or the store cannot be reached.
    """
    return parse_index(index_bytes(store), f"{store.address}/{INDEX}")


def index_bytes(store: Store) -> bytes:
    """The index of a store as it lies there; see `read_index`."""
    try:
        return read_whole(store, INDEX, INDEX_BYTES)
    except MissingError as error:
        if store.remote:
            raise
        if any((Path(store.address) / "entries").glob("[!.]*")):
            raise MissingError(f"{store.address} holds entries and no {INDEX}; {_ANEW}") from error
        raise MissingError(
            f"there is no zoo at {store.address}: it has no {INDEX}; publish to it, or name another"
        ) from error


def parse_index(content: bytes, where: str) -> Index:
    """The index in a file.

    Raises:
        StateError: when it is damaged or of another version.
    """
    check_schema(content, SCHEMA_VERSION, f"the index {where}", _ANEW)
    try:
        index = msgspec.json.decode(content, type=Index)
        for entry, sha256 in index.entries.items():
            check_id(entry)
            check_sha256(sha256)
    except ValueError as error:
        raise StateError(f"{where} is damaged: {error}; {_ANEW}") from error
    return index


def entry_file(entry: str, path: str) -> str:
    """The name of an entry's file inside its store."""
    return f"entries/{entry}/{path}"
