"""What others found, as knowledge of an archive: the archives of earlier versions, and tables."""

from __future__ import annotations

import ast
import csv
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from search.archive import Archive
from search.objective import Objective
from supernet.errors import StateError
from supernet.space import Architecture, SearchSpace, Value

Row = Mapping[str, str]


def import_lines(
    archive: Archive,
    path: Path,
    objectives: Mapping[str, Objective],
    *,
    subject: Mapping[str, str] | None = None,
) -> int:
    """Take over the archive of an earlier version: a heading, then one JSON line for each network.

    Args:
        objectives: by the name a value has in the file, what it is a value of; the others are left out.
        subject: what the values must depend on, as that version said it; None asks for nothing.

    Returns:
        How many networks were read; none when they are of another subject.

    Raises:
        StateError: for a file of another space, or no such archive.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    heading = _json(lines[0]) if lines else None
    if not isinstance(heading, dict) or "space" not in heading:
        raise StateError(
            f"{path} is no archive of a search; its first line should be a heading with its space"
        )
    if heading["space"] != archive.space.fingerprint:
        raise StateError(
            f"{path} is of another space: {heading['space']}, and {archive.path} of {archive.space.fingerprint}"
        )
    if subject is not None and heading.get("subject") != _digest(subject):
        return 0
    entries = [entry for entry in map(_json, lines[1:]) if entry is not None]
    for name, objective in objectives.items():
        known = [e for e in entries if e["values"].get(name) is not None]
        if known:
            genes = np.array([e["genes"] for e in known], dtype=np.int64)
            archive.record(
                objective,
                genes,
                np.array([e["values"][name] for e in known], dtype=np.float64),
                worker=str(path.name),
            )
    return len(entries)


def import_csv(
    archive: Archive,
    path: Path,
    objectives: Mapping[str, Objective],
    network: Callable[[Row], Architecture] | None = None,
) -> int:
    """Take over a table with a row for each network.

    Args:
        objectives: by the name of a column, what it is a value of.
        network: from a row to its architecture; `by_choice` when left out.

    Returns:
        How many rows were read.

    Raises:
        StateError: for a column that is not there, or a row that is no network of the space.
    """
    read = network or by_choice(archive.space)
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        rows, columns = list(table), table.fieldnames or []
    missing = [name for name in objectives if name not in columns]
    if missing:
        raise StateError(f"{path} has no column {missing[0]!r}; it has {', '.join(columns)}")
    archs = []
    for number, row in enumerate(rows, start=2):
        try:
            archs.append(read(row))
        except (ValueError, KeyError, SyntaxError) as error:
            raise StateError(f"{path}, line {number}: {error}") from error
    genes = archive.space.matrix(archs)
    for name, objective in objectives.items():
        values = np.array([_number(row[name]) for row in rows], dtype=np.float64)
        known = np.isfinite(values)
        archive.record(objective, genes[known], values[known], worker=path.name)
    return len(rows)


def by_choice(space: SearchSpace) -> Callable[[Row], Architecture]:
    """Networks from a column ``genes`` ("0-2-1"), or from one column for each choice that matters."""

    def network(row: Row) -> Architecture:
        """One row."""
        if row.get("genes"):
            return space.architecture([int(gene) for gene in row["genes"].split("-")])
        given = {name: _value(row[name]) for name in (c.name for c in space.choices) if row.get(name)}
        return space.encode(given)

    return network


def by_lists(space: SearchSpace, column: str, kinds: Mapping[str, str]) -> Callable[[Row], Architecture]:
    """Networks from a column with lists of values, as DyNAS-T writes them: ``{"ks": [3, 5, ...], "d": [2, ...]}``.

    Args:
        column: for example ``"Sub-network"``.
        kinds: of each list, the last part of the names of its choices, which it gives in order: ``{"ks": "kernel",
            "e": "expand", "d": "depth"}``.
    """
    names = {
        key: [choice.name for choice in space.choices if choice.name.rpartition(".")[2] == kind]
        for key, kind in kinds.items()
    }

    def network(row: Row) -> Architecture:
        """One row."""
        lists = ast.literal_eval(row[column])
        given: dict[str, Value] = {}
        for key, wanted in names.items():
            if len(lists[key]) != len(wanted):
                raise ValueError(f"{key!r} has {len(lists[key])} values for {len(wanted)} choices")
            given |= dict(zip(wanted, lists[key]))
        return space.encode(given)

    return network


def _digest(subject: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(subject), sort_keys=True).encode()).hexdigest()[:16]


def _json(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _value(text: str) -> Value:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
