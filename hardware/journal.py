"""What has been timed so far, line by line: after a kill the next window is the one that was due.

A *burst* is some calls of one network in a row. A *window* is a burst of the reference, one of each of
a few networks, and the reference again. The journal is a heading and one line for each window; a line
that was cut short by a kill is dropped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from supernet.lines import LineFile


@dataclass(frozen=True)
class Burst:
    """Percentiles of the calls of one burst that counted, in milliseconds."""

    p10: float
    p25: float
    p50: float
    p90: float
    calls: int

    @classmethod
    def of(cls, times_ns: Sequence[int]) -> Burst:
        """Summarise the calls of a burst, given in nanoseconds."""
        p10, p25, p50, p90 = (round(float(t), 7) for t in np.percentile(times_ns, (10, 25, 50, 90)) / 1e6)
        return cls(p10, p25, p50, p90, len(times_ns))


@dataclass(frozen=True)
class Window:
    """Bursts of a few networks between two of the reference.

    Args:
        phase: ``first`` or ``repeat``.
        round: counts from 0 in each phase.
        index: place in the round.
        before: the reference, at the start.
        after: the reference, at the end.
        bursts: architecture id to what was measured.
        attempts: how often it was measured until the reference stayed where it was.
        seconds: all attempts together.
        date: when it ended, UTC.
        load_average: of the machine; -1 when unknown.
    """

    phase: str
    round: int
    index: int
    before: Burst
    after: Burst
    bursts: dict[str, Burst]
    attempts: int
    seconds: float
    date: str
    load_average: float

    @property
    def drift(self) -> float:
        """How far the reference moved while the window was measured, as a share."""
        return abs(self.after.p10 / self.before.p10 - 1)

    def ratio(self, arch: str) -> float:
        """Latency of one of its networks over that of the reference."""
        return self.relative(self.bursts[arch].p25)

    def relative(self, ms: float) -> float:
        """A time in this window over the latency of the reference in it."""
        return 2 * ms / (self.before.p25 + self.after.p25)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Window:
        """The window that `dataclasses.asdict` made plain."""
        bursts = {arch: Burst(**burst) for arch, burst in document["bursts"].items()}
        ends = {key: Burst(**document[key]) for key in ("before", "after")}
        return cls(**{**document, **ends, "bursts": bursts})


class Journal:
    """The windows of one profile, on disk as they come (`supernet.lines`).

    A context manager; the file is locked while it is open.

    Args:
        path: the file; it is made when there is none.
        heading: what the windows belong to: space, device, architectures, options.

    Raises:
        StateError: when the file belongs to something else, is damaged, is written to by another process,
            or cannot be read or written.
    """

    def __init__(self, path: Path, heading: Mapping[str, Any]) -> None:
        self.windows: list[Window] = []
        self._lines = LineFile(
            path,
            heading,
            lambda document: self.windows.append(Window.from_json(document)),
            what="journal of a profile",
        )

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()

    def add(self, window: Window) -> None:
        """Note a window down; it is on disk when this returns."""
        self._lines.append(asdict(window))
        self._lines.sync()
        self.windows.append(window)

    def of(self, phase: str) -> list[Window]:
        """The windows of one phase, in the order measured."""
        return [window for window in self.windows if window.phase == phase]

    def ratios(self, phase: str, before_round: int | None = None) -> dict[str, list[float]]:
        """Every ratio of every architecture in one phase, perhaps only from the rounds before one."""
        found: defaultdict[str, list[float]] = defaultdict(list)
        for window in self.of(phase):
            if before_round is None or window.round < before_round:
                for arch in window.bursts:
                    found[arch].append(window.ratio(arch))
        return found
