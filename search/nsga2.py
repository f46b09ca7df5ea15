"""NSGA-II (Deb et al. 2002) over genes, by pymoo."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.population import Population
from pymoo.core.termination import NoTermination

from search.objective import Values
from search.operators import Canonical, RandomReset, StartWith, UniformMix, Unseen, ends
from search.problem import SubnetProblem
from search.searcher import Terrain, searchers
from search.uniform import strangers
from supernet.space import Genes


@searchers.register("nsga2")
class Nsga2Searcher:
    """A population of networks, mixed and mutated; the non-dominated and least crowded half survives."""

    def __init__(self, terrain: Terrain) -> None:
        space, options = terrain.space, terrain.options
        self._terrain = terrain
        self._problem = SubnetProblem(space, terrain.objectives)
        self._algorithm = NSGA2(
            pop_size=options.population,
            sampling=StartWith(space, np.concatenate([ends(space), terrain.start])),
            crossover=UniformMix(options.crossover),
            mutation=RandomReset(space, options.mutation or min(0.5, 1 / len(space))),
            repair=Canonical(space),
            eliminate_duplicates=Unseen(terrain.unseen),
        )
        self._algorithm.setup(self._problem, termination=NoTermination(), seed=options.seed)
        self._rng = np.random.default_rng([options.seed, 2])
        self._asked: Any = None

    def ask(self) -> Genes:
        """The children of the population; strangers where all of them are known already."""
        self._asked = self._algorithm.ask()
        if self._asked is None:
            # pymoo takes a population without new children for the end of the run
            self._algorithm.termination.force_termination = False
            self._asked = Population.new("X", strangers(self._terrain, self._rng))
        genes: Genes = np.array(self._asked.get("X"), dtype=np.int64).reshape(-1, len(self._terrain.space))
        return genes

    def tell(self, genes: Genes, values: Values) -> None:
        """Select among parents and children."""
        rows = {tuple(row): i for i, row in enumerate(self._asked.get("X").astype(np.int64).tolist())}
        kept = self._asked[[rows[tuple(row)] for row in genes.tolist()]]
        self._algorithm.tell(infills=self._problem.answer(kept, values))
