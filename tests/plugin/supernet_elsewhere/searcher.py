"""A searcher: whatever differs in a gene or two from the best network so far."""

from __future__ import annotations

import numpy as np

from search.objective import Values, losses
from search.operators import ends, reset, sample_genes
from search.searcher import Terrain
from supernet.space import Genes


class Neighbours:
    """Random restarts when all neighbours are known."""

    def __init__(self, terrain: Terrain) -> None:
        self.terrain = terrain
        self.rng = np.random.default_rng(terrain.options.seed)
        self.best, self.loss = ends(terrain.space)[:1], np.inf

    def ask(self) -> Genes:
        space, wanted = self.terrain.space, self.terrain.options.population
        near = reset(space, np.repeat(self.best, 4 * wanted, axis=0), 1.5 / len(space), self.rng)
        genes = np.concatenate(
            [ends(space), space.canonical(near), sample_genes(space, 20 * wanted, self.rng)]
        )
        return genes[self.terrain.unseen(genes)][:wanted]

    def tell(self, genes: Genes, values: Values) -> None:
        for row, loss in zip(genes, losses(self.terrain.objectives, values).sum(axis=1)):
            if loss < self.loss:
                self.best, self.loss = row[None], loss
