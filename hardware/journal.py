"""What has been timed so far, line by line: after a kill the next window is the one that was due.

A *burst* is some calls of one network in a row. A *window* is a burst of the reference, one of each of
a few networks, and the reference again. The journal is a heading and one line for each window; a line
that was cut short by a kill is dropped.

A machine has states: while its neighbour on the same core is busy, a network may take twice as long, and a large one
loses more than a small one, so that its ratio to the reference is another. Windows in which the reference took longer
than at its best are therefore written down, and do not count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

import numpy as np

from hardware.options import ProfileOptions
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

    @property
    def reference_ms(self) -> float:
        """The latency of the reference in it."""
        return (self.before.p25 + self.after.p25) / 2

    def ratio(self, arch: str) -> float:
        """Latency of one of its networks over that of the reference."""
        return self.relative(self.bursts[arch].p25)

    def relative(self, ms: float) -> float:
        """A time in this window over the latency of the reference in it."""
        return ms / self.reference_ms

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
        best_ms: latency of the reference as an earlier profile of the device knows it; None for none.

    Raises:
        StateError: when the file belongs to something else, is damaged, is written to by another process,
            or cannot be read or written.
    """

    def __init__(self, path: Path, heading: Mapping[str, Any], best_ms: float | None = None) -> None:
        self.windows: list[Window] = []
        self.best_ms = best_ms
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

    def calm(self, phase: str, options: ProfileOptions, before_round: int | None = None) -> list[Window]:
        """The windows of one phase in which the machine was calm; perhaps only from the rounds before one.

        Calm is when the reference takes at most `ProfileOptions.calm` more than at its best, by what was known then.
        """
        among = [
            place
            for place, window in enumerate(self.windows)
            if window.phase == phase and (before_round is None or window.round < before_round)
        ]
        known = self.windows[: among[-1] + 1] if among else []
        return self._calm_of([self.windows[place] for place in among], known, options)

    def counted(self, phase: str, options: ProfileOptions) -> Windows:
        """The windows by which every architecture is judged: the calm ones, or the calmest where too few are."""
        calm, found = by_arch(self.calm(phase, options)), by_arch(self.of(phase))
        for arch, windows in found.items():
            calmest = sorted(range(len(windows)), key=[w.reference_ms for w in windows].__getitem__)
            in_order = [windows[place] for place in sorted(calmest[: options.rounds])]
            found[arch] = max(calm.get(arch, []), in_order, key=len)
        return found

    def level_ms(self, phase: str, options: ProfileOptions) -> float:
        """The latency of the reference that the ratios of a phase are to be multiplied by.

        That of its calm windows. But what an earlier profile knew, or the windows before this phase, where there are
        too few or the reference has moved by more than `ProfileOptions.drift`: then it is the machine that has moved.
        """
        calm, best = self.calm(phase, options), self._known_before(phase, options)
        if best is None:
            return _level(calm)
        level = _level(calm) if len(calm) >= options.rounds else best
        return level if abs(level / best - 1) <= options.drift else best

    def _known_before(self, phase: str, options: ProfileOptions) -> float | None:
        if self.best_ms is not None:
            return self.best_ms
        before = list(takewhile(lambda window: window.phase != phase, self.windows))
        return _level(self._calm_of(before, before, options)) if before else None

    def _calm_of(
        self, windows: Sequence[Window], known: Sequence[Window], options: ProfileOptions
    ) -> list[Window]:
        most = (1 + options.calm) * self._quiet_ms(known) if known else 0.0
        return [window for window in windows if window.reference_ms <= most]

    def _quiet_ms(self, windows: Sequence[Window]) -> float:
        own = float(np.percentile([burst.p25 for w in windows for burst in (w.before, w.after)], 10))
        return own if self.best_ms is None else min(own, self.best_ms)


Windows = dict[str, list[Window]]
"""Of every architecture, by its id."""


def _level(windows: Sequence[Window]) -> float:
    return median(window.reference_ms for window in windows)


def by_arch(windows: Iterable[Window]) -> Windows:
    """The windows that each architecture was measured in."""
    found: defaultdict[str, list[Window]] = defaultdict(list)
    for window in windows:
        for arch in window.bursts:
            found[arch].append(window)
    return dict(found)
