"""Putting an entry into a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from supernet.errors import StateError
from zoo.store.card import card
from zoo.store.local import LocalStore
from zoo.store.manifest import CARD, MANIFEST, Manifest, describe_file
from zoo.store.protocol import Store


def publish(store: Store, manifest: Manifest, files: Mapping[str, Path]) -> Manifest:
    """Publish a network with its files and a README made from its manifest.

    The same entry twice is no error and changes nothing.

    Args:
        store: a local one.
        manifest: with whatever is known; its ``files`` are filled in here.
        files: what to publish, by name: ``{"model.onnx": path}``.

    Returns:
        The manifest as it was published.

    Raises:
        StateError: when the id is taken by other content, a file is refused or missing, or the store
            cannot be written to.
    """
    if not isinstance(store, LocalStore):
        raise StateError(f"{store.address} can only be read; publish to a folder and upload that")
    for reserved in (CARD, MANIFEST):
        if reserved in files:
            raise StateError(f"{reserved!r} is written by publish; give that file another name")
    records = tuple(describe_file(path, name) for name, path in sorted(files.items()))
    manifest = replace(manifest, files=records)
    with TemporaryDirectory() as folder:
        readme = Path(folder) / CARD
        readme.write_text(card(manifest), encoding="utf-8")
        manifest = replace(manifest, files=(*records, describe_file(readme)))
        store.add(manifest, {**files, CARD: readme})
    return manifest
