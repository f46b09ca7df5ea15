"""What is known of the networks of a space: every value ever paid for, on disk the moment it is known.

An archive is an SQLite file. A value belongs to an architecture, a *quantity* ("accuracy, in %") and what that depends
on besides the architecture (which weights, which data), and to nothing else: not to the other objectives, their order,
the seed or the device of the search that paid for it. So whatever is searched next, nothing is paid for twice. What
costs nothing to compute (multiply-adds, a predicted latency) is never stored.

Beside the values lie the *proposals*: which networks were asked for, in which order. They are what a search that was
killed goes on from. Genes are stored as 16-bit integers, the lower byte first.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import overload

import numpy as np
from numpy.typing import NDArray

from search.objective import Objective, Values
from supernet.errors import StateError
from supernet.lock import locked
from supernet.space import Architecture, Genes, SearchSpace
from supernet.versions import check_version

log = logging.getLogger(__name__)

FORMAT = 1
DONE, FAILED = "done", "failed"
STORED = np.dtype("<u2")
SCHEMA = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS quantities (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, unit TEXT NOT NULL, depends TEXT NOT NULL,
    UNIQUE (name, unit, depends));
CREATE TABLE IF NOT EXISTS results (
    quantity INTEGER NOT NULL REFERENCES quantities (id), genes BLOB NOT NULL, value REAL, sd REAL, seconds REAL,
    status TEXT NOT NULL, worker TEXT NOT NULL, date REAL NOT NULL, note TEXT NOT NULL,
    PRIMARY KEY (quantity, genes));
CREATE TABLE IF NOT EXISTS proposals (
    step INTEGER PRIMARY KEY, goals TEXT NOT NULL, searcher TEXT NOT NULL, seed INTEGER NOT NULL,
    known INTEGER NOT NULL, genes BLOB NOT NULL, date REAL NOT NULL);
"""
NONE: Mapping[str, float] = {}
TABLES = ("about", "quantities", "results", "proposals")


@dataclass(frozen=True)
class Evaluation:
    """An architecture and its values in natural units.

    Args:
        arch: the architecture.
        values: by the name of the objective.
        bounds: of predicted values with a limit: what they are not worse than, with the probability of the limit.
    """

    arch: Architecture
    values: Mapping[str, float]
    bounds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Proposed:
    """A batch of networks that was asked for.

    Args:
        genes: canonical ``(networks, choices)``, in the order in which they are to be evaluated.
        known: evaluations that the searcher had seen.
    """

    genes: Genes
    known: int


class Archive:
    """Everything that is known of a space, as an open file.

    A context manager. Any number of processes read one archive, also while it is written.

    Args:
        path: the file; made when it is missing.
        space: whose architectures are recorded.
        write: hold the file against other writers.

    Raises:
        StateError: when the archive is of another space or no archive, when another process writes to it and
            ``write`` is asked for, or when the place cannot be written to.
    """

    def __init__(self, path: Path, space: SearchSpace, *, write: bool = False) -> None:
        self.path, self.space = path, space
        self._worker = f"{socket.gethostname()}/{os.getpid()}"
        with ExitStack() as undo:
            if write:
                busy = f"{path} is being written by another process; wait for it, or choose another folder"
                undo.enter_context(locked(path.with_name(f".{path.name}.lock"), busy=busy))
            self._db = _opened(path, space)
            self._held = undo.pop_all()

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others write to the file."""
        self._db.close()
        self._held.close()

    def values(self, objective: Objective) -> dict[bytes, float]:
        """What is recorded of an objective, by `key`; NaN for an evaluation that failed."""
        query = "SELECT genes, value FROM results WHERE quantity = ?"
        found = self._db.execute(query, (self._quantity(objective),))
        return {genes: float("nan") if value is None else value for genes, value in found}

    def look_up(self, objective: Objective, genes: Genes) -> Values:
        """What is recorded of an objective for each row of ``(networks, choices)``; NaN where nothing is."""
        quantity, query = (
            self._quantity(objective),
            "SELECT value FROM results WHERE quantity = ? AND genes = ?",
        )
        rows = [self._db.execute(query, (quantity, key)).fetchone() for key in stored(genes)]
        return np.array(
            [np.nan if row is None or row[0] is None else row[0] for row in rows], dtype=np.float64
        )

    def record(
        self,
        objective: Objective,
        genes: Genes,
        values: Values,
        *,
        notes: Sequence[str] = (),
        seconds: float | None = None,
        worker: str | None = None,
    ) -> None:
        """Keep values of an objective; a later one replaces an earlier one.

        Args:
            genes: canonical ``(networks, choices)``.
            values: ``(networks,)``; one that is not finite is a failed evaluation.
            notes: what went wrong with each; may be left out.
            seconds: that one evaluation took.
            worker: who evaluated; this process when left out.
        """
        quantity, now = self._quantity(objective), time.time()
        by, fine = worker or self._worker, np.isfinite(values).tolist()
        told = zip(stored(genes), values.tolist(), fine, notes or [""] * len(genes))
        rows = [
            (quantity, key, value if good else None, seconds, DONE if good else FAILED, by, now, note)
            for key, value, good, note in sorted(told)
        ]
        with self._writing():
            self._db.executemany(
                "INSERT OR REPLACE INTO results (quantity, genes, value, seconds, status, worker, date, note) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def propose(self, goals: str, genes: Genes, *, searcher: str, seed: int, known: int) -> None:
        """Keep a batch that is to be evaluated next.

        Args:
            goals: what is searched for; batches with other goals belong to other searches.
            known: evaluations that the searcher had seen.
        """
        with self._writing():
            self._db.execute(
                "INSERT INTO proposals (goals, searcher, seed, known, genes, date) VALUES (?, ?, ?, ?, ?, ?)",
                (goals, searcher, seed, known, b"".join(stored(genes)), time.time()),
            )

    def proposals(self, goals: str) -> list[Proposed]:
        """The batches of a search, in order."""
        found = self._db.execute("SELECT genes, known FROM proposals WHERE goals = ? ORDER BY step", (goals,))
        return [Proposed(self.genes(blob), known) for blob, known in found]

    def genes(self, blob: bytes) -> Genes:
        """Genes ``(networks, choices)`` from how they are stored."""
        return np.frombuffer(blob, dtype=STORED).reshape(-1, len(self.space)).astype(np.int64)

    def failures(self, objective: Objective) -> list[tuple[Architecture, str]]:
        """Which evaluations of an objective failed, and why."""
        query = "SELECT genes, note FROM results WHERE quantity = ? AND status = ? ORDER BY date"
        found = self._db.execute(query, (self._quantity(objective), FAILED))
        return [(self.space.architecture(self.genes(blob)[0].tolist()), note) for blob, note in found]

    def forget_failures(self) -> int:
        """Let every failed evaluation be tried again.

        Returns:
            How many there were.
        """
        with self._writing():
            return self._db.execute("DELETE FROM results WHERE status = ?", (FAILED,)).rowcount

    def evaluations(self, objectives: Sequence[Objective]) -> Evaluations:
        """Every network whose expensive objectives are all known, in the order of its genes; nothing is evaluated."""
        dear = [self.values(objective) for objective in objectives if not objective.cheap]
        if not dear:
            return Evaluations(self.space, objectives, self.genes(b""), np.zeros((0, len(objectives))))
        whole = sorted(k for k in dear[0] if all(k in column and column[k] == column[k] for column in dear))
        genes = self.genes(b"".join(whole))
        columns = iter(dear)
        found = [o(genes) if o.cheap else _column(next(columns), whole) for o in objectives]
        return Evaluations(self.space, objectives, genes, np.stack(found, axis=1))

    def _quantity(self, objective: Objective) -> int:
        depends = json.dumps(dict(objective.depends), sort_keys=True)
        named = (objective.name, objective.unit, depends)
        query = "SELECT id FROM quantities WHERE name = ? AND unit = ? AND depends = ?"
        found = self._db.execute(query, named).fetchone()
        if found is None:
            with self._writing():
                self._db.execute(
                    "INSERT OR IGNORE INTO quantities (name, unit, depends) VALUES (?, ?, ?)", named
                )
            found = self._db.execute(query, named).fetchone()
        return int(found[0])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._db:
                yield
        except sqlite3.OperationalError as error:
            raise StateError(f"cannot write {self.path}: {error}; free some space and run again") from error


class Evaluations(Sequence[Evaluation]):
    """Rows of genes and values as evaluations, made when somebody looks at them.

    Args:
        genes: canonical ``(networks, choices)``.
        values: in natural units ``(networks, objectives)``.
    """

    def __init__(
        self, space: SearchSpace, objectives: Sequence[Objective], genes: Genes, values: Values
    ) -> None:
        self.space, self.objectives, self.genes, self.values = space, tuple(objectives), genes, values

    @cached_property
    def held(self) -> Values:
        """What limits are held by ``(networks, objectives)``: values, and bounds where a value is predicted."""
        found = self.values.copy()
        for name, column in self._cautious.items():
            found[:, [o.name for o in self.objectives].index(name)] = column
        return found

    @cached_property
    def _cautious(self) -> dict[str, Values]:
        bounded = [o for o in self.objectives if o.bound is not None and o.limit is not None]
        return {o.name: o.cautious(self.genes) for o in bounded}

    @cached_property
    def _made(self) -> list[Evaluation]:
        return self.at(np.arange(len(self.genes)))

    def at(self, rows: NDArray[np.intp]) -> list[Evaluation]:
        """Some of them."""
        names = [objective.name for objective in self.objectives]
        return [
            Evaluation(
                arch,
                dict(zip(names, numbers)),
                {name: float(column[row]) for name, column in self._cautious.items()}
                if self._cautious
                else NONE,
            )
            for row, arch, numbers in zip(
                rows.tolist(), self.space.architectures(self.genes[rows]), self.values[rows].tolist()
            )
        ]

    def __len__(self) -> int:
        return len(self.genes)

    def __iter__(self) -> Iterator[Evaluation]:
        return iter(self._made)

    @overload
    def __getitem__(self, which: int) -> Evaluation: ...

    @overload
    def __getitem__(self, which: slice) -> list[Evaluation]: ...

    def __getitem__(self, which: int | slice) -> Evaluation | list[Evaluation]:
        """One, or some, by their place."""
        return self._made[which]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._made == list(other)


def known_networks(path: Path) -> int:
    """How many networks an archive knows something of; none where there is no archive."""
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            query = "SELECT COUNT(DISTINCT genes) FROM results WHERE status = ?"
            return int(db.execute(query, (DONE,)).fetchone()[0])
    except sqlite3.DatabaseError:
        return 0


def stored(genes: Genes) -> list[bytes]:
    """Each row as it is stored; equal for equal rows."""
    plain = np.ascontiguousarray(genes, dtype=STORED)
    width = plain.shape[1] * STORED.itemsize
    whole = plain.tobytes()
    return [whole[i : i + width] for i in range(0, len(whole), width)]


def _column(known: Mapping[bytes, float], keys: Sequence[bytes]) -> Values:
    return np.array([known[key] for key in keys], dtype=np.float64)


def _opened(path: Path, space: SearchSpace) -> sqlite3.Connection:
    heading = {"format": FORMAT, "space": space.fingerprint, "choices": space.to_json()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _checked(path, heading)
    except sqlite3.OperationalError as error:
        raise StateError(f"cannot write {path}: {error}; choose a folder that can be written to") from error
    except sqlite3.DatabaseError as error:
        if path.read_bytes()[:15] != b"SQLite format 3":
            raise StateError(
                f"{path} is no archive of a search; choose another folder, or import it (search.imports)"
            ) from error
        _repair(path, heading, str(error))
        return _checked(path, heading)
    except OSError as error:
        raise StateError(
            f"cannot write {path}: {error.strerror}; choose a folder that can be written to"
        ) from error


def _checked(path: Path, heading: Mapping[str, object]) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=60)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_autocheckpoint = 10000")  # pages: a copy of the log at every batch is dear
        faults = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if faults != "ok":
            raise sqlite3.DatabaseError(faults)
        about = _about(db)
        if not about:
            with db:
                db.executescript(SCHEMA)
                rows = [(key, json.dumps(value)) for key, value in heading.items()]
                db.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", rows)
        elif "space" not in about:
            raise StateError(f"{path} is no archive of a search; choose another folder")
        else:
            check_version(
                about, FORMAT, what=f"the archive of a search {path}", older="move it away to begin anew"
            )
            if about["space"] != heading["space"]:
                raise StateError(
                    f"{path} is the archive of another space: {about['space']}, now {heading['space']}; "
                    f"choose another folder, or move it away to begin anew"
                )
    except BaseException:
        db.close()
        raise
    return db


def _about(db: sqlite3.Connection) -> dict[str, object]:
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    if not tables:
        return {}
    if "about" not in tables:
        return {"tables": tables}
    return {key: json.loads(value) for key, value in db.execute("SELECT key, value FROM about")}


def _repair(path: Path, heading: Mapping[str, object], fault: str) -> None:
    """Put a whole file in the place of a damaged one, with every row that can be read; the damaged one is kept."""
    broken, whole = path.with_name(f"{path.name}.damaged"), path.with_name(f".{path.name}.repaired")
    whole.unlink(missing_ok=True)
    source, target = sqlite3.connect(path), _checked(whole, heading)
    saved = {table: _salvage(source, target, table) for table in TABLES[1:]}
    source.close()
    target.execute("PRAGMA journal_mode = DELETE")
    target.close()
    path.replace(broken)
    for tail in ("-wal", "-shm"):
        path.with_name(path.name + tail).unlink(missing_ok=True)
    whole.replace(path)
    counts = ", ".join(f"{count} {table}" for table, count in saved.items())
    log.warning("%s was damaged (%s); saved %s, and kept the damaged file as %s", path, fault, counts, broken)


def _salvage(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> int:
    """Copy rows from the first to the last that can be read, then from the last to the first."""
    saved = 0
    for order in ("", "DESC"):
        key = "step" if table == "proposals" else "id" if table == "quantities" else "quantity"
        try:
            for row in source.execute(f"SELECT * FROM {table} ORDER BY {key} {order}"):
                places = ", ".join("?" * len(row))
                saved += target.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row).rowcount
        except sqlite3.DatabaseError as error:
            log.debug("%s of a damaged archive: %s", table, error)
    target.commit()
    return saved
