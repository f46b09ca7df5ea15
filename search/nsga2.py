"""NSGA-II (Deb et al. 2002) on what is expensive itself."""

from __future__ import annotations

import numpy as np

from search.evolution import Scored, best_first, children, scored
from search.objective import Values
from search.operators import ends, sample_genes
from search.searcher import Terrain, searchers
from search.uniform import strangers
from supernet.space import Genes

TRIES = 4
"""Rounds of offspring before strangers take the places of those that are known already."""


@searchers.register("nsga2")
class Nsga2Searcher:
    """A population of networks, mixed and mutated; the non-dominated and least crowded half survives."""

    def __init__(self, terrain: Terrain) -> None:
        self._terrain = terrain
        self._rng = np.random.default_rng([terrain.options.seed, 2])
        self._population: Scored | None = None

    def ask(self) -> Genes:
        """The children of the population; strangers where all of them are known already."""
        wanted = self._terrain.options.population
        if self._population is None:
            return self._begin()
        born = np.zeros((0, len(self._terrain.space)), dtype=np.int64)
        for _ in range(TRIES):
            more = self._children(self._population, wanted - len(born))
            born = np.concatenate([born, more])
            born = born[self._terrain.unseen(born)][:wanted]
            if len(born) == wanted:
                return born
        return born if len(born) else strangers(self._terrain, self._rng)

    def tell(self, genes: Genes, values: Values) -> None:
        """Select among parents and children."""
        told = scored(self._terrain.objectives, genes, values)
        living = told if self._population is None else self._population.joined(told)
        self._population = living.rows(best_first(living)[: self._terrain.options.population])

    def _children(self, parents: Scored, count: int) -> Genes:
        space, options = self._terrain.space, self._terrain.options
        mutation = options.mutation or min(0.5, 1 / len(space))
        return children(space, parents, count, self._rng, mutation=mutation, crossover=options.crossover)

    def _begin(self) -> Genes:
        """The two ends, what lies within the limits, and random networks."""
        space, wanted = self._terrain.space, self._terrain.options.population
        drawn = sample_genes(space, 2 * wanted, self._rng)
        genes = np.concatenate([ends(space), self._terrain.start, drawn])
        return genes[self._terrain.unseen(genes)][:wanted]
