"""What a searcher is: it proposes networks and is told their values; the registry of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from search.objective import Objective, Values
from search.options import SearchOptions
from supernet.registry import Registry
from supernet.space import Genes, SearchSpace


@dataclass(frozen=True)
class Terrain:
    """What a searcher is made from.

    Args:
        space: what is searched.
        objectives: what is optimised, and the limits.
        options: how far and how; its seed is the only source of chance.
        start: genomes within all cheap limits to begin with ``(at most a population, choices)``; none
            when there is no such limit.
        unseen: which rows of canonical genomes this search has not evaluated yet; of equal rows the first.
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    options: SearchOptions
    start: Genes
    unseen: Callable[[Genes], NDArray[np.bool_]]


class Searcher(Protocol):
    """Proposes what to evaluate next. Budget, archive, limits and resuming are none of its business.

    It is determined by its `Terrain` and by what it is told: a search that was killed is walked again from
    the beginning, answered from the archive.
    """

    def ask(self) -> Genes:
        """The next genomes ``(networks, choices)``: canonical, unseen, no two equal; none ends the search."""
        ...

    def tell(self, genes: Genes, values: Values) -> None:
        """What became of those that were asked for; fewer when the budget ended.

        Args:
            genes: ``(evaluated, choices)``, in the order asked.
            values: ``(evaluated, objectives)`` in natural units, NaN where a cheap limit ruled one out.
        """
        ...


searchers: Registry[Callable[[Terrain], Searcher]] = Registry(
    "searcher", modules=("search.guided", "search.nsga2", "search.uniform"), group="supernet.searchers"
)
"""Searchers by name; each is made from a `Terrain`."""
