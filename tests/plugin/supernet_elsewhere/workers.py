"""Workers: this process, one network at a time."""

from __future__ import annotations

from search.workers import InProcess, Wanted


class OneByOne(InProcess):
    """Scores that take one network."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted)
        self.rows = 1
