"""A searcher: whatever differs in a gene or two from the best network so far."""

from __future__ import annotations

import numpy as np

from search.objective import losses
from search.operators import ends, reset, sample_genes
from search.searcher import Known, Terrain, offered
from supernet.space import Genes


def propose_neighbours(terrain: Terrain, known: Known, count: int | None, rng: np.random.Generator) -> Genes:
    """Random restarts when all neighbours are known."""
    space, wanted = terrain.space, count or terrain.options.population
    best = ends(space)[:1]
    if len(known.genes):
        best = known.genes[[losses(terrain.objectives, known.values).sum(axis=1).argmin()]]
    near = reset(space, np.repeat(best, 4 * wanted, axis=0), 1.5 / len(space), rng)
    genes = [ends(space), terrain.start, space.canonical(near), sample_genes(space, 20 * wanted, rng)]
    return offered(terrain, known, np.concatenate(genes), wanted)
