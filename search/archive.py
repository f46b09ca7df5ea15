"""Every evaluation of a search, on disk the moment it is known."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from search.objective import Objective, Values
from supernet.errors import StateError
from supernet.space import Architecture, SearchSpace

log = logging.getLogger(__name__)
FORMAT = 1


@dataclass(frozen=True)
class Evaluation:
    """An architecture and its values in natural units, NaN where a value was not worth its price."""

    arch: Architecture
    values: Mapping[str, float]


class Archive:
    """An append-only file of evaluations: one header line, then one JSON line for each.

    The header says what the numbers are true of: the space, the objectives and the *subject* (which
    weights, which predictor, which data). How somebody searched is not part of it, so another seed or
    another limit may use the same archive, and one evaluation is never paid for twice.

    A context manager; the file is locked while it is open.

    Args:
        path: the file; made when it is missing.
        space: whose architectures are recorded.
        objectives: the columns, in this order.
        subject: what the values depend on besides the architecture, for example
            ``{"weights": sha256, "predictor": sha256}``.

    Raises:
        StateError: when the archive is of another space, other objectives or another subject, when a
            line other than the last is damaged, when another process writes to it, or when the place
            cannot be written to.
    """

    def __init__(
        self,
        path: Path,
        space: SearchSpace,
        objectives: Sequence[Objective],
        subject: Mapping[str, str] | None = None,
    ) -> None:
        self.path, self.space = path, space
        self.names = [objective.name for objective in objectives]
        self.header = _header(space, objectives, subject or {})
        self._rows: dict[tuple[int, ...], Values] = {}
        self._file = self._open()
        try:
            self._load()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sync()
        self._file.close()

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Evaluation]:
        return (self.evaluation(genes) for genes in self._rows)

    def row(self, genes: tuple[int, ...]) -> Values:
        """The values recorded of a canonical genome ``(objectives,)``, NaN where there is none."""
        known = self._rows.get(genes)
        return np.full(len(self.names), np.nan) if known is None else known

    def evaluation(self, genes: tuple[int, ...]) -> Evaluation:
        """What is recorded of a canonical genome."""
        return Evaluation(self.space.architecture(genes), dict(zip(self.names, self.row(genes).tolist())))

    def record(self, genes: tuple[int, ...], values: Values) -> None:
        """Append the values ``(objectives,)`` of a canonical genome; a later line replaces an earlier one."""
        arch = self.space.architecture(genes)
        plain = {name: None if np.isnan(value) else float(value) for name, value in zip(self.names, values)}
        self._write({"genes": list(genes), "id": arch.id, "values": plain})
        self._rows[genes] = values

    def sync(self) -> None:
        """Make sure that what was recorded survives a power cut."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def _write(self, line: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise StateError(
                f"cannot write {self.path}: {error.strerror}; free some space and run again"
            ) from error

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
                f"{self.path} is being written by another search; wait for it or choose another file"
            ) from error
        return file

    def _load(self) -> None:
        self._file.seek(0)
        lines = self._file.read().splitlines(keepends=True)
        if lines and not _is_whole(lines[-1]):
            log.warning("%s: dropped its last line, which a crash had torn", self.path)
            self._file.truncate(sum(map(len, lines[:-1])))
            lines.pop()
        if not lines:
            self._write(self.header)
            self.sync()
            return
        self._check(lines[0])
        for number, line in enumerate(lines[1:], start=2):
            genes, values = self._parse(line, number)
            self._rows[genes] = values

    def _check(self, line: bytes) -> None:
        try:
            found = json.loads(line)
            found = {key: found[key] for key in self.header}
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(f"{self.path} is no archive of a search; choose another file") from error
        for key, wanted in self.header.items():
            if found[key] != wanted:
                raise StateError(
                    f"{self.path} holds evaluations with {key} {found[key]}, and this search has {wanted}; "
                    f"choose another file, or move this one away to begin anew"
                )

    def _parse(self, line: bytes, number: int) -> tuple[tuple[int, ...], Values]:
        try:
            entry = json.loads(line)
            arch = self.space.architecture(entry["genes"])
            values = [entry["values"][name] for name in self.names]
            row = np.array([np.nan if value is None else float(value) for value in values])
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(f"{self.path} is damaged at line {number}: {error}; remove that line") from error
        if entry.get("id") != arch.id or list(arch.genes) != entry["genes"]:
            raise StateError(
                f"{self.path} is damaged at line {number}: genes and id disagree; remove that line"
            )
        return arch.genes, row


def _is_whole(line: bytes) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _header(
    space: SearchSpace, objectives: Sequence[Objective], subject: Mapping[str, str]
) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps(dict(subject), sort_keys=True).encode()).hexdigest()[:16]
    return {
        "format": FORMAT,
        "space": space.fingerprint,
        "objectives": [[objective.name, objective.unit, objective.sense] for objective in objectives],
        "subject": digest,
    }
