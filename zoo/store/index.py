"""The index of a store: which entries it holds, and the hash of each one's manifest."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from supernet.errors import StateError, did_you_mean
from zoo.store.manifest import check_id, check_schema
from zoo.store.protocol import MissingError, Store

INDEX = "index.json"
SCHEMA_VERSION = 1


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
    """The index of a store, empty for a folder that nothing was published to yet.

    Raises:
        MissingError: when there is no such folder, or the server has no index.
        StateError: when it is damaged, or the store cannot be reached.
    """
    try:
        content = b"".join(store.chunks(INDEX)[1])
    except MissingError as error:
        if store.remote:
            raise
        if not Path(store.address).is_dir():
            raise MissingError(
                f"there is no zoo at {store.address}; publish to it, or name another"
            ) from error
        return Index({})
    return parse_index(content, f"{store.address}/{INDEX}")


def parse_index(content: bytes, where: str) -> Index:
    """The index in a file.

    Raises:
        StateError: when it is damaged or of another version.
    """
    check_schema(content, SCHEMA_VERSION, f"the index {where}", "LocalStore(folder).reindex() writes it anew")
    try:
        index = msgspec.json.decode(content, type=Index)
        for entry in index.entries:
            check_id(entry)
    except ValueError as error:
        raise StateError(
            f"{where} is damaged: {error}; LocalStore(folder).reindex() writes it anew from the entries"
        ) from error
    return index


def entry_file(entry: str, path: str) -> str:
    """The name of an entry's file inside its store."""
    return f"entries/{entry}/{path}"
