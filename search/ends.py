"""When a search ends before its budget is spent: its time is up, or its fronts hardly grow any more.

Neither has a say in what is proposed, so a search that goes on later walks the path of one that never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from search.growth import Growth
from search.options import SearchOptions

End = Literal["budget", "space", "time", "plateau"]
"""Why a search ended: all evaluations are spent, the searcher has nothing more to propose, or as said above."""


class Ends:
    """The ends that the options of a search ask for.

    Args:
        options: of the search, which begins now.
        growth: of its fronts.
        clock: seconds, from any beginning.
    """

    def __init__(
        self, options: SearchOptions, growth: Growth, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._options, self._growth, self._clock, self._begun = options, growth, clock, clock()

    def reached(self, scored: int) -> End | None:
        """The end that has come; None while the search may go on.

        Args:
            scored: networks that were evaluated since the search began; however short the time, there is one.
        """
        options = self._options
        if scored and options.seconds is not None and self._clock() - self._begun >= options.seconds:
            return "time"
        if options.plateau and self._growth.grown(options.plateau_evaluations) < options.plateau:
            return "plateau"
        return None
