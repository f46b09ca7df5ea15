"""The Pareto front of a space: objectives, NSGA-II over an archive that survives a kill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from search.engine import random_search as random_search
    from search.engine import search as search
    from search.front import choose as choose
    from search.objective import InfeasibleError as InfeasibleError
    from search.objective import Objective as Objective
    from search.options import SearchOptions as SearchOptions

_MODULES = {
    "Objective": "search.objective",
    "InfeasibleError": "search.objective",
    "search": "search.engine",
    "random_search": "search.engine",
    "SearchOptions": "search.options",
    "choose": "search.front",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
