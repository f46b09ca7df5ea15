"""The Pareto front of a space: objectives, searchers, and an archive that survives a kill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from search.engine import random_search as random_search, search as search
    from search.front import choose as choose
    from search.objective import InfeasibleError as InfeasibleError, Objective as Objective
    from search.options import SearchOptions as SearchOptions
    from search.searcher import Searcher as Searcher, Terrain as Terrain, searchers as searchers

_MODULES = {
    "Objective": "search.objective",
    "InfeasibleError": "search.objective",
    "search": "search.engine",
    "random_search": "search.engine",
    "SearchOptions": "search.options",
    "choose": "search.front",
    "searchers": "search.searcher",
    "Searcher": "search.searcher",
    "Terrain": "search.searcher",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
