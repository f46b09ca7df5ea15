"""What a searcher is: a function of what is known, that proposes networks; the registry of them."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.archive import stored
from search.objective import Objective, Values, views
from search.options import SearchOptions
from supernet.registry import Registry
from supernet.space import Genes, SearchSpace


@dataclass(frozen=True)
class Guess:
    """What a searcher with models can say of the networks that it proposes.

    Args:
        genes: the networks ``(networks, choices)``.
        values: what it expects of them, in natural units ``(networks, objectives)``.
        looked_at: how many candidates it chose them from.
        seconds: that this took, models and all.
    """

    genes: Genes
    values: Values
    looked_at: int
    seconds: float


def unheard(guess: Guess) -> None:
    """What is told to nobody."""


@dataclass(frozen=True)
class Terrain:
    """What is searched.

    Args:
        space: where the networks come from.
        objectives: what is optimised, and the limits.
        options: how far and how.
        start: genomes within all free limits to begin with ``(at most a population, choices)``; none
            when there is no such limit.
        tell: called with what a searcher expects of the networks that it is about to propose, if it expects anything.
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    options: SearchOptions
    start: Genes
    tell: Callable[[Guess], None] = unheard

    def within(self, genes: Genes) -> NDArray[np.bool_]:
        """Which rows of canonical genes are within every limit of a front, as far as it is known for nothing."""
        held = np.ones((len(genes), len(self.objectives)), dtype=np.bool_)
        for i, objective in enumerate(self.objectives):
            if objective.cheap and objective.limit is not None and len(genes):
                held[:, i] = objective.excess(objective.cautious(genes)) <= 0
        parts = [held[:, view].all(axis=1) for view in views(self.objectives)]
        return np.asarray(np.any(parts, axis=0), dtype=np.bool_)


@dataclass(frozen=True)
class Known:
    """What has come of a search so far.

    Args:
        genes: networks whose values are known ``(networks, choices)``, in the order in which they were learned.
        values: theirs, in natural units ``(networks, objectives)``.
        pending: networks that were asked for and are not evaluated yet.
        taken: how every network ever asked for is stored: evaluated, failed or pending.
    """

    genes: Genes
    values: Values
    pending: Genes
    taken: Set[bytes]

    def fresh(self, genes: Genes) -> NDArray[np.bool_]:
        """Which rows of canonical genes nobody has asked for; of equal rows the first."""
        keys = stored(genes)
        here = {key: row for row, key in reversed(list(enumerate(keys)))}
        taken = self.taken & here.keys()
        return np.array(
            [here[key] == row and key not in taken for row, key in enumerate(keys)], dtype=np.bool_
        )


Searcher = Callable[[Terrain, Known, "int | None", np.random.Generator], Genes]
"""From what is searched, what is known, how many networks are wanted (None for as many as it likes to be told of at
once) and a generator to the next networks ``(networks, choices)``: canonical, fresh, within the free limits, no two
equal, the best first. None at all ends the search. The answer depends on nothing else: budget, archive and resuming
are none of its business."""


def offered(terrain: Terrain, known: Known, genes: Genes, count: int | None = None) -> Genes:
    """The first of ``genes`` that may be proposed, as they are."""
    genes = genes[known.fresh(genes)]
    return genes[terrain.within(genes)][:count]


searchers: Registry[Searcher] = Registry(
    "searcher",
    modules=("search.guided", "search.nsga2", "search.uniform", "search.local", "search.engines"),
    group="supernet.searchers",
)
"""Searchers by name."""
