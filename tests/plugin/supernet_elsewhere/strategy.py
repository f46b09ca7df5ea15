"""A training strategy: the two ends take turns."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.strategies import Context, Lesson


@dataclass(frozen=True)
class Ends:
    """The largest in even steps, the smallest in odd ones."""

    def lessons(self, context: Context) -> list[Lesson]:
        """One lesson."""
        space = context.space
        return [Lesson(space.smallest() if context.step % 2 else space.largest())]
