"""NSGA-II (Deb et al. 2002) on what is expensive itself."""

from __future__ import annotations

import numpy as np

from search.evolution import Scored, best_first, children, scored
from search.searcher import Known, Terrain, offered, searchers
from search.uniform import spread, strangers
from supernet.space import Genes

TRIES = 4
"""Rounds of offspring before strangers take the places of those that are known already."""


@searchers.register("nsga2")
def propose_nsga2(terrain: Terrain, known: Known, count: int | None, rng: np.random.Generator) -> Genes:
    """Children of the least dominated and least crowded networks that are known.

    Survivors are taken from all that was ever evaluated and not from the last two generations, so the answer depends
    on what is known and not on how it came to be known.
    """
    wanted = count or terrain.options.population
    missing = terrain.options.population - len(known.genes) - len(known.pending)
    if missing > 0 or len(known.genes) < 2:
        return spread(terrain, known, min(wanted, max(missing, 2)), rng)
    parents = scored(terrain.objectives, known.genes, known.values)
    parents = parents.rows(best_first(parents, terrain.options.population))
    found = offspring(terrain, known, parents, wanted, rng)
    return found if len(found) else strangers(terrain, known, wanted, rng)


def offspring(terrain: Terrain, known: Known, parents: Scored, count: int, rng: np.random.Generator) -> Genes:
    """Children that may be proposed ``(at most count, choices)``."""
    space, options = terrain.space, terrain.options
    mutation = options.mutation or min(0.5, 1 / len(space))
    born = np.zeros((0, len(space)), dtype=np.int64)
    for _ in range(TRIES):
        more = children(
            space, parents, count - len(born), rng, mutation=mutation, crossover=options.crossover
        )
        born = offered(terrain, known, np.concatenate([born, more]), count)
        if len(born) == count:
            break
    return born
