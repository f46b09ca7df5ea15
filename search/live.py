"""What a search shows of itself while it runs, for TensorBoard: a step is a network that it has evaluated.

Every search has a folder of curves of its own, called by its fronts and limits. Curves follow the order in which
networks are learned of, so one that was killed and goes on draws what an undisturbed search would have drawn.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from search.archive import stored
from search.front import front
from search.growth import Growth
from search.objective import Objective, Values, labels, views
from search.report import FrontFigure, picture, points
from search.searcher import Guess
from search.trials import Trials
from supernet.curves import Curves
from supernet.drawing import png_of
from supernet.wording import counted

BETWEEN = 30.0
"""Seconds between two pictures of the fronts, at least."""


class Live:
    """Takes note of what a search learns and draws it, where there is a folder; a context manager.

    Args:
        trials: of the search.
        folder: where the curves go; None draws none.

    Attributes:
        growth: of its fronts.
    """

    def __init__(self, trials: Trials, folder: Path | None) -> None:
        self._trials, self._goals = trials, trials.objectives
        self.growth = Growth(self._goals)
        self.growth.learn(*trials.before)
        self._curves = Curves(folder, search_name(self._goals))
        self._expected: dict[bytes, Values] = {}
        self._learned = self._drawn = 0
        self._begun, self._pictured = (0.0, 0), time.monotonic()

    def __enter__(self) -> Live:
        self.growth.learn(*self._trials.learned(0))
        self._learned = self._trials.settled
        self._curves.open(self._learned)
        self._begun = time.monotonic(), self._learned
        if self._curves.is_open:
            self._drawn = max(len(self.growth.shares), len(self._trials.before[0]))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._curves.is_open:
            self._show_fronts()
        self._curves.close()

    def expect(self, guess: Guess) -> None:
        """Take note of what a searcher expects of the networks that it is about to propose."""
        self._expected |= dict(zip(stored(guess.genes), guess.values))
        pace = guess.looked_at / max(guess.seconds, 1e-9)
        self._curves.scalar("candidates_per_second", pace, self._learned)

    def learn(self) -> None:
        """Take note of what became of trials."""
        genes, values = self._trials.learned(self._learned)
        if not len(genes):
            return
        self.growth.learn(genes, values)
        self._learned += len(genes)
        if not self._curves.is_open:
            return
        self._show_growth()
        self._show_errors(stored(genes), values)
        if time.monotonic() - self._pictured > BETWEEN:
            self._show_fronts()
        self._curves.flush()

    def _show_growth(self) -> None:
        """The hypervolume after each of the newest networks, and how fast they come."""
        begun, first = self._begun
        pace = (self._learned - first) / (time.monotonic() - begun)
        self._curves.scalar("evaluations_per_second", pace, self._learned)
        shares, before = self.growth.shares, len(self._trials.before[0])
        for row in range(self._drawn, len(shares)):
            for label, share in zip(labels(self._goals), shares[row]):
                self._curves.scalar(_of("hypervolume", label), float(share), row + 1 - before)
        self._drawn = max(self._drawn, len(shares))

    def _show_errors(self, keys: Sequence[bytes], values: Values) -> None:
        """How far the newest networks are from what was expected of them, on average."""
        expected = [self._expected.pop(key, None) for key in keys]
        there = [row for row, guess in enumerate(expected) if guess is not None]
        off = np.abs(np.array([expected[row] for row in there]) - values[there]) if there else values[:0]
        off = off[np.isfinite(off).all(axis=1)]
        for i, objective in enumerate(self._goals):
            if len(off) and not objective.cheap and objective.optimise:
                self._curves.scalar(f"model_error/{objective.label}", float(off[:, i].mean()), self._learned)

    def _show_fronts(self) -> None:
        """How many networks are on each front, and a picture of it."""
        seen, self._pictured = self._trials.evaluations(), time.monotonic()
        for label, view in zip(labels(self._goals), views(self._goals)):
            goals = [self._goals[i] for i in view]
            found = front(seen, goals)
            self._curves.scalar(_of("front", label), len(found), self._learned)
            if axes := _axes(goals):
                cost, gain = axes
                figure = FrontFigure(
                    title=f"The front{label and ' of '}{label}",
                    provenance=f"{counted(len(seen), 'network')} known, {counted(len(found), 'network')} on the front",
                    cost=cost.label,
                    gain=gain.label,
                    estimated=points(found, cost=cost.name, gain=gain.name),
                    seen=points(seen, cost=cost.name, gain=gain.name),
                    sense=gain.sense,
                )
                self._curves.picture(_of("front", label), png_of(picture(figure)), self._learned)


def search_name(objectives: Sequence[Objective]) -> str:
    """What a search is called, as a folder can be: its fronts, and what is limited."""
    limits = [f"{o.name}-{o.limit:g}" for o in objectives if o.limit is not None]
    return re.sub(r"[^\w.+,-]", "-", ",".join(["+".join(labels(objectives)) or "search", *limits]))


def _of(what: str, label: str) -> str:
    return f"{what}/{label}" if label else what


def _axes(goals: Sequence[Objective]) -> tuple[Objective, Objective] | None:
    """What a front is drawn by: its first cost and its first evaluated objective; None where one is missing."""
    optimised = [o for o in goals if o.optimise]
    gain = next((o for o in optimised if not o.cheap), None)
    cost = next((o for o in optimised if o is not gain and o.sense == "min"), None)
    return (cost, gain) if cost and gain else None
