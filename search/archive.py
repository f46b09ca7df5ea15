"""Every evaluation of a search, on disk the moment it is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from search.objective import Objective, Values
from supernet.lines import LineFile
from supernet.space import Architecture, SearchSpace


@dataclass(frozen=True)
class Evaluation:
    """An architecture and its values in natural units, NaN where a value was not worth its price."""

    arch: Architecture
    values: Mapping[str, float]


class Archive:
    """An append-only file of evaluations: one heading, then one JSON line for each (`supernet.lines`).

    The heading says what the numbers are true of: the space, the objectives and the *subject* (which
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
        self._rows: dict[tuple[int, ...], Values] = {}
        self._lines = LineFile(
            path, _heading(space, objectives, subject or {}), self._read, what="archive of a search"
        )

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()

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
        self._lines.append({"genes": list(genes), "id": arch.id, "values": plain})
        self._rows[genes] = values

    def sync(self) -> None:
        """Make sure that what was recorded survives a power cut."""
        self._lines.sync()

    def _read(self, entry: Any) -> None:
        arch = self.space.architecture(entry["genes"])
        values = [entry["values"][name] for name in self.names]
        if entry.get("id") != arch.id or list(arch.genes) != entry["genes"]:
            raise ValueError("genes and id disagree")
        self._rows[arch.genes] = np.array([np.nan if value is None else float(value) for value in values])


def _heading(
    space: SearchSpace, objectives: Sequence[Objective], subject: Mapping[str, str]
) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps(dict(subject), sort_keys=True).encode()).hexdigest()[:16]
    return {
        "space": space.fingerprint,
        "objectives": [[objective.name, objective.unit, objective.sense] for objective in objectives],
        "subject": digest,
    }
