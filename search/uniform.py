"""Networks drawn at random: the baseline every searcher has to beat."""

from __future__ import annotations

import numpy as np

from search.objective import Values
from search.operators import ends, sample_genes
from search.searcher import Terrain, searchers
from supernet.space import Genes


@searchers.register("random")
class UniformSearcher:
    """The smallest and the largest network, then uniformly random ones that nobody has seen."""

    def __init__(self, terrain: Terrain) -> None:
        self._terrain = terrain
        self._rng = np.random.default_rng([terrain.options.seed, 3])
        self._begun = False

    def ask(self) -> Genes:
        """A population of strangers; fewer when the space is nearly used up."""
        if not self._begun:
            self._begun = True
            first = ends(self._terrain.space)
            return first[self._terrain.unseen(first)]
        return strangers(self._terrain, self._rng)

    def tell(self, genes: Genes, values: Values) -> None:
        """Learns nothing."""


def strangers(terrain: Terrain, rng: np.random.Generator) -> Genes:
    """Random genomes nobody has seen; fewer than a population, or none, when the space is nearly used up."""
    options = terrain.options
    genes = sample_genes(terrain.space, options.population * options.patience, rng)
    return genes[terrain.unseen(genes)][: options.population]
