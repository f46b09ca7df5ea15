"""How a step says how far it is, to whoever called it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told about every part of a step; what it does with that (a bar, a log, nothing) is its own affair."""

    def __call__(self, part: str, done: int, total: int, words: str = "") -> None:
        """Take note.

        Args:
            part: what is being done: ``"training"``, ``"export"``, ``"measure"``.
            done: how much of it is.
            total: how much there is, so far as known.
            words: how it goes, where there is something to say.
        """


def silent(part: str, done: int, total: int, words: str = "") -> None:
    """A progress that goes nowhere."""
