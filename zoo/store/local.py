"""A store in a folder: immutable entries, and an index of their manifests' hashes.

    index.json                      id of each entry and sha256 of its manifest
    entries/ID/manifest.json        and the files it lists

Any static web server can offer that folder as it is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from supernet.errors import StateError
from supernet.files import write_atomically
from supernet.lock import locked
from zoo.store.index import INDEX, Index, read_index
from zoo.store.manifest import MANIFEST, Manifest, check_id, hash_file, names, parse
from zoo.store.protocol import CHUNK, MissingError, stores


@stores.register("file")
def _from_address(address: str) -> LocalStore:
    return LocalStore(Path(address.removeprefix("file://")))


class LocalStore:
    """A folder; the only store that can be published to.

    Args:
        folder: made when something is published.
    """

    remote = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = str(folder)

    def chunks(self, name: str, start: int = 0) -> tuple[int, Iterator[bytes]]:
        """See `Store`; a symbolic link is refused, as it may point anywhere."""
        path = self.folder
        for part in name.split("/"):
            path = path / part
            if path.is_symlink():
                raise StateError(
                    f"{path} is a symbolic link, which a zoo may not hold; publish the file itself"
                )
        if not path.is_file():
            raise MissingError(f"{path} is missing")
        return start, _read(path, start)

    def add(self, manifest: Manifest, files: Mapping[str, Path]) -> Path:
        """Copy an entry in: it appears whole, then the index names it.

        Args:
            manifest: lists every file.
            files: where each of them lies now, by its path in the manifest.

        Returns:
            The folder of the entry.

        Raises:
            StateError: when the id is taken by another manifest, a file is not what the manifest says, or
                the place cannot be written to.
        """
        target = self.folder / "entries" / manifest.id
        with locked(self.folder / ".lock"):
            index = self._index_beside(manifest.id)
            if index.entries.get(manifest.id, manifest.sha256) != manifest.sha256:
                raise StateError(
                    f"{manifest.id!r} is published already with other content, and entries never change; "
                    f"choose another id"
                )
            if manifest.id not in index.entries:
                with self._beside(target) as part:
                    _fill(part, manifest, files)
                write_atomically(
                    self.folder / INDEX, Index(index.entries | {manifest.id: manifest.sha256}).to_bytes()
                )
        return target

    def reindex(self) -> Index:
        """Write the index anew from the manifests that are there.

        Raises:
            MissingError: when there is no such folder.
            StateError: when one of them is damaged.
        """
        if not self.folder.is_dir():
            raise MissingError(f"there is no folder {self.folder}; name the one that holds the entries")
        with locked(self.folder / ".lock"):
            found: dict[str, str] = {}
            for path in sorted((self.folder / "entries").glob(f"[!.]*/{MANIFEST}")):
                manifest = parse(path.read_bytes(), str(path))
                found[check_id(path.parent.name)] = manifest.sha256
            index = Index(found)
            write_atomically(self.folder / INDEX, index.to_bytes())
        return index

    def unlisted(self, index: Index) -> list[str]:
        """Folders among the entries that the index does not list, sorted."""
        return sorted({path.name for path in (self.folder / "entries").glob("[!.]*")} - index.entries.keys())

    def _index_beside(self, entry: str) -> Index:
        """The index to add an entry to; an empty one for a new store."""
        try:
            return read_index(self)
        except MissingError:
            # what a crash left of this very entry is replaced, and nobody else's is dropped
            if self.unlisted(Index({entry: ""})):
                raise
            return Index({})

    @contextmanager
    def _beside(self, target: Path) -> Iterator[Path]:
        """A folder that takes the place of the target once it is filled, and goes away when that fails."""
        part = target.with_name(f".{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir(parents=True)
            yield part
            # under the lock and not in the index: what is there was left by a crash before the index knew it
            shutil.rmtree(target, ignore_errors=True)
            part.replace(target)
        except OSError as error:
            raise StateError(
                f"cannot write {target}: {error.strerror}; choose a folder that can be written to"
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _fill(folder: Path, manifest: Manifest, files: Mapping[str, Path]) -> None:
    if set(files) != {file.path for file in manifest.files}:
        raise StateError(
            f"the manifest of {manifest.id} lists {names(manifest.files)}; "
            f"given were {', '.join(sorted(files))}"
        )
    for file in manifest.files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files[file.path], target)
        with target.open("rb") as copied:
            os.fsync(copied.fileno())
        found = hash_file(target)
        if found != file.sha256:
            raise StateError(
                f"{files[file.path]} has the sha256 {found}, and the manifest says {file.sha256}"
            )
    write_atomically(folder / MANIFEST, manifest.to_bytes())


def _read(path: Path, start: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(start)
            while piece := file.read(CHUNK):
                yield piece
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror}; check its permissions") from error
