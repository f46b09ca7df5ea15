"""The Pareto front of a space: objectives, NSGA-II over an archive that survives a kill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from search.engine import random_search, search
    from search.front import choose
    from search.objective import InfeasibleError, Objective
    from search.options import SearchOptions

_MODULES = {
    "Objective": "search.objective",
    "InfeasibleError": "search.objective",
    "search": "search.engine",
    "random_search": "search.engine",
    "SearchOptions": "search.options",
    "choose": "search.front",
}
__getattr__ = offers(__name__, _MODULES)
__all__ = [  # noqa: RUF022 - in the order one would learn them
    "Objective",
    "InfeasibleError",
    "search",
    "random_search",
    "SearchOptions",
    "choose",
]
