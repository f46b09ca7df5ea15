"""Networks drawn at random: the baseline every searcher has to beat, and where the others begin."""

from __future__ import annotations

import numpy as np

from search.operators import ends, reset, sample_genes
from search.searcher import Known, Terrain, offered, searchers
from supernet.space import Genes


@searchers.register("random")
def propose_random(terrain: Terrain, known: Known, count: int | None, rng: np.random.Generator) -> Genes:
    """The smallest and the largest network, then uniformly random ones that nobody has seen."""
    wanted = count or terrain.options.population
    if known.taken:
        return strangers(terrain, known, wanted, rng)
    return spread(terrain, known, wanted, rng)


def spread(terrain: Terrain, known: Known, count: int, rng: np.random.Generator) -> Genes:
    """What a search begins with: the smallest, the largest, what lies within the limits, and random networks."""
    space = terrain.space
    genes = np.concatenate([ends(space), terrain.start, sample_genes(space, 4 * count, rng)])
    found = offered(terrain, known, genes, count)
    return found if len(found) else strangers(terrain, known, count, rng)


def strangers(terrain: Terrain, known: Known, count: int, rng: np.random.Generator) -> Genes:
    """Random networks nobody has seen; fewer, or none, when the space within the limits is nearly used up.

    Where there are limits, half of what is tried is near to networks that are within.
    """
    space, tries = terrain.space, terrain.options.population * terrain.options.patience
    genes = sample_genes(space, tries, rng)
    if len(terrain.start):
        near = terrain.start[rng.integers(0, len(terrain.start), tries)]
        near = space.canonical(reset(space, near, min(0.5, 3 / len(space)), rng))
        genes = np.stack([genes, near], axis=1).reshape(2 * tries, -1)
    return offered(terrain, known, genes, count)
