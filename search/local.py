"""Two searchers that look close to what is good: local search, and evolution that forgets the old."""

from __future__ import annotations

import numpy as np

from search.evolution import best_first, ranks, scored
from search.operators import reset
from search.searcher import Known, Terrain, offered, searchers
from search.uniform import spread, strangers
from supernet.space import Genes

TOURNAMENT = 0.25
"""Share of the living among which a parent is the best."""


@searchers.register("local")
def propose_local(terrain: Terrain, known: Known, count: int | None, rng: np.random.Generator) -> Genes:
    """Networks that differ in one or two genes from one on the front (White et al., arXiv:2005.02960)."""
    wanted = count or terrain.options.population
    if len(known.genes) < 2:
        return spread(terrain, known, wanted, rng)
    there = scored(terrain.objectives, known.genes, known.values)
    best = there.genes[ranks(there)[0] == 0]
    parents = best[rng.integers(0, len(best), 8 * wanted)]
    return _changed(terrain, known, parents, wanted, rng)


@searchers.register("aging")
def propose_aging(terrain: Terrain, known: Known, count: int | None, rng: np.random.Generator) -> Genes:
    """Regularised evolution (Real et al., arXiv:1802.01548): only the last generations live, and the best of a few
    has a child. With several objectives the better is the less dominated, then the less crowded."""
    options = terrain.options
    wanted = count or max(options.population // 4, 1)
    missing = options.population - len(known.genes) - len(known.pending)
    if missing > 0 or len(known.genes) < 2:
        return spread(terrain, known, min(wanted, max(missing, 2)) if count else max(missing, 2), rng)
    living = scored(terrain.objectives, known.genes, known.values).rows(
        np.arange(max(len(known.genes) - options.population, 0), len(known.genes))
    )
    place = np.empty(len(living), dtype=np.int64)
    place[best_first(living)] = np.arange(len(living))
    few = max(int(TOURNAMENT * len(living)), 2)
    drawn = rng.integers(0, len(living), (8 * wanted, few))
    winners = drawn[np.arange(len(drawn)), place[drawn].argmin(axis=1)]
    return _changed(terrain, known, living.genes[winners], wanted, rng)


def _changed(terrain: Terrain, known: Known, parents: Genes, count: int, rng: np.random.Generator) -> Genes:
    space = terrain.space
    mutation = terrain.options.mutation or min(0.5, 1.5 / len(space))
    genes = space.canonical(reset(space, parents, mutation, rng))
    found = offered(terrain, known, genes, count)
    return found if len(found) else strangers(terrain, known, count, rng)
