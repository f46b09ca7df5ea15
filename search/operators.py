"""How genomes are drawn, mixed and changed: whole matrices at a time, for categories without an order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.repair import Repair
from pymoo.core.sampling import Sampling

from supernet.space import Genes, SearchSpace


def options_of(space: SearchSpace) -> Genes:
    """How many values each choice has ``(choices,)``."""
    return np.array([len(choice.values) for choice in space.choices], dtype=np.int64)


def sample_genes(space: SearchSpace, count: int, rng: np.random.Generator) -> Genes:
    """Random canonical genomes ``(count, choices)``, every gene uniform."""
    return space.canonical(rng.integers(0, options_of(space), size=(count, len(space))))


def ends(space: SearchSpace) -> Genes:
    """The smallest and the largest network ``(2, choices)``: they frame every front."""
    return space.matrix([space.smallest(), space.largest()])


def mix(parents: Genes, rng: np.random.Generator) -> Genes:
    """Two children of each pair: every gene of the first from either parent, the second has the others.

    Args:
        parents: ``(2, pairs, choices)``.
    """
    swap = rng.random(parents.shape[1:]) < 0.5
    return np.where(swap, parents[::-1], parents)


def reset(space: SearchSpace, genes: Genes, rate: float, rng: np.random.Generator) -> Genes:
    """Genomes ``(genomes, choices)`` in which each gene was, at this rate, given another of its values.

    Genes that do not matter are 0 by convention. They are drawn first, or a block that a mutation
    switches on would always begin as its smallest self.
    """
    options = options_of(space)
    ghosts = ~space.matters(genes)
    genes = np.where(ghosts, rng.integers(0, options, size=genes.shape), genes)
    shift = rng.integers(1, np.maximum(options, 2), size=genes.shape)
    hit = (rng.random(genes.shape) < rate) & (options > 1)
    return np.where(hit, (genes + shift) % options, genes)


# pymoo hands its operators the generator of the algorithm, which makes a run repeat under one seed.


class StartWith(Sampling):  # type: ignore[misc]
    """Given genomes first, the rest random."""

    def __init__(self, space: SearchSpace, first: Genes) -> None:
        super().__init__()
        self.space, self.first = space, first

    def _do(
        self, problem: Any, n_samples: int, *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> Genes:
        rest = sample_genes(self.space, max(n_samples - len(self.first), 0), random_state)
        return np.concatenate([self.first, rest])[:n_samples]


class UniformMix(Crossover):  # type: ignore[misc]
    """`mix` for pymoo."""

    def __init__(self, rate: float) -> None:
        super().__init__(2, 2, prob=rate)

    def _do(
        self, problem: Any, X: Genes, *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> Genes:
        return mix(X, random_state)


class RandomReset(Mutation):  # type: ignore[misc]
    """`reset` for pymoo.

    DyNAS-T and BootstrapNAS round simulated binary crossover and polynomial mutation, which takes
    categories for an ordered scale; on the OFA benchmark of 1,000 evaluations neither was ahead
    (share of the hypervolume .936 and .932, deviation .011), so the plainer one is used.
    """

    def __init__(self, space: SearchSpace, rate: float) -> None:
        super().__init__(prob=1.0)
        self.space, self.rate = space, rate

    def _do(
        self, problem: Any, X: Genes, *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> Genes:
        return reset(self.space, X.astype(np.int64), self.rate, random_state)


class Canonical(Repair):  # type: ignore[misc]
    """Makes genomes canonical, so that equal rows are equal networks."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.space = space

    def _do(self, problem: Any, X: Genes, **kwargs: Any) -> Genes:
        return self.space.canonical(X.astype(np.int64))


class Unseen(DuplicateElimination):  # type: ignore[misc]
    """Drops what the run has seen before: pymoo's own compares with the current population only.

    In DyNAS-T's published search 7 % of the validations went to networks it had validated already.
    """

    def __init__(self, unseen: Callable[[Genes], NDArray[np.bool_]]) -> None:
        super().__init__()
        self.unseen = unseen

    def do(self, pop: Any, *args: Any, **kwargs: Any) -> Any:
        """The members of ``pop`` that are new, also among themselves and the populations of ``args``."""
        if len(pop) == 0:
            return pop
        given = {tuple(row) for other in args if len(other) for row in other.get("X").tolist()}
        genes: NDArray[np.int64] = pop.get("X")
        fresh = self.unseen(genes)
        return pop[[i for i, row in enumerate(genes.tolist()) if fresh[i] and tuple(row) not in given]]
