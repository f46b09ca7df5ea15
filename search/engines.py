"""pymoo's engines as searchers: NSGA-III, SMS-EMOA, MOEA/D and C-TAEA, and AGE-MOEA-II where numba is
installed (``pip install "supernet[age]"``).

Each is begun at the best networks that are known and asked for one generation, so that the answer depends on what is
known and not on an object that lived through it. With one objective they are `nsga2`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.ctaea import CTAEA
from pymoo.algorithms.moo.moead import ParallelMOEAD
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.algorithms.moo.sms import SMSEMOA
from pymoo.core.crossover import Crossover
from pymoo.core.evaluator import Evaluator as Teller
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.core.termination import NoTermination
from pymoo.problems.static import StaticProblem
from pymoo.util.ref_dirs import get_reference_directions

from search.evolution import Scored, best_first, scored
from search.nsga2 import offspring, propose_nsga2
from search.objective import Values
from search.operators import mix, options_of, reset
from search.searcher import Known, Searcher, Terrain, offered, searchers
from supernet.space import Genes, SearchSpace

Engine = Callable[[int, int, dict[str, Any]], Any]
"""From the number of objectives, the size of a population and the operators to an algorithm of pymoo."""


def directions(objectives: int, most: int) -> Values:
    """Evenly spread directions ``(at most so many, objectives)``."""
    parts = 1
    while comb(parts + objectives, objectives - 1) <= most:
        parts += 1
    return np.asarray(get_reference_directions("das-dennis", objectives, n_partitions=parts))


def _register(name: str, engine: Engine, *, by_direction: bool = False, limits: bool = True) -> Searcher:
    """Register an engine as a searcher.

    Args:
        by_direction: each place of its population has a direction of its own.
        limits: whether it knows limits; else it is told of networks within all of them where there are any.
    """

    def propose(terrain: Terrain, known: Known, count: int | None, rng: np.random.Generator) -> Genes:
        """One generation by the engine."""
        size, objectives = terrain.options.population, sum(o.optimise for o in terrain.objectives)
        if objectives == 1 or len(known.genes) < size:
            return propose_nsga2(terrain, known, count, rng)
        there = scored(terrain.objectives, known.genes, known.values)
        if not limits and (there.beyond <= 0).sum() >= size:
            there = there.rows(there.beyond <= 0)
        living = _by_direction(there, size) if by_direction else there.rows(best_first(there, size))
        wanted = count or size
        born = _generation(engine(objectives, size, _operators(terrain)), terrain, living, limits, rng)
        found = offered(terrain, known, born, wanted)
        if len(found) < wanted:  # most were known already
            more = offspring(terrain, known, living, wanted, rng)
            found = offered(terrain, known, np.concatenate([found, more]), wanted)
        return found if len(found) else propose_nsga2(terrain, known, count, rng)

    return searchers.register(name)(propose)


def _generation(
    algorithm: Any, terrain: Terrain, living: Scored, limits: bool, rng: np.random.Generator
) -> Genes:
    """What an algorithm proposes once it is told of a population."""
    problem = SubnetProblem(terrain.space, living.losses.shape[1], limits)
    answers = {"F": living.losses} | ({"G": living.beyond[:, None]} if limits else {})
    population = Population.new("X", living.genes)
    algorithm.initialization.sampling = population
    algorithm.setup(problem, termination=NoTermination(), seed=int(rng.integers(2**31)))
    begun = algorithm.ask()
    algorithm.tell(infills=Teller().eval(StaticProblem(problem, **answers), begun))
    born = algorithm.ask()
    if born is None:
        return np.zeros((0, len(terrain.space)), dtype=np.int64)
    genes = np.array(born.get("X"), dtype=np.int64).reshape(-1, len(terrain.space))
    return terrain.space.canonical(genes)


def _by_direction(there: Scored, size: int) -> Scored:
    """For every direction the network that is best along it, none twice."""
    spread = np.ptp(there.losses, axis=0)
    scaled = (there.losses - there.losses.min(axis=0)) / np.where(spread > 0, spread, 1.0)
    open_ = np.ones(len(there), dtype=np.bool_)
    chosen = []
    for direction in directions(scaled.shape[1], size):
        far = np.where(open_, (scaled * np.maximum(direction, 1e-3)).max(axis=1), np.inf)
        chosen.append(int(np.argmin(far)))
        open_[chosen[-1]] = False
    return there.rows(np.array(chosen))


class SubnetProblem(Problem):  # type: ignore[misc]
    """Genes from 0 to options - 1, some losses, and perhaps one inequality for all limits together."""

    def __init__(self, space: SearchSpace, objectives: int, limits: bool) -> None:
        super().__init__(
            n_var=len(space),
            n_obj=objectives,
            n_ieq_constr=int(limits),
            xl=0,
            xu=options_of(space) - 1,
            vtype=int,
        )


# pymoo hands its operators the generator of the algorithm, which makes a run repeat under one seed.


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

    def _do(self, problem: Any, X: NDArray[Any], **kwargs: Any) -> Genes:
        return self.space.canonical(X.astype(np.int64))


def _operators(terrain: Terrain) -> dict[str, Any]:
    options, space = terrain.options, terrain.space
    return {
        "crossover": UniformMix(options.crossover),
        "mutation": RandomReset(space, options.mutation or min(0.5, 1 / len(space))),
        "repair": Canonical(space),
    }


def _second_age(objectives: int, size: int, operators: dict[str, Any]) -> Any:
    from pymoo.algorithms.moo.age2 import AGEMOEA2

    return AGEMOEA2(pop_size=size, **operators)


def _decomposed(objectives: int, size: int, operators: dict[str, Any]) -> Any:
    ways = directions(objectives, size)
    return ParallelMOEAD(ways, n_neighbors=min(10, len(ways)), **operators)


_register("nsga3", lambda m, size, by: NSGA3(directions(m, size), pop_size=size, **by))
if find_spec("numba"):  # pymoo compiles it
    _register("agemoea2", _second_age)
_register("smsemoa", lambda m, size, by: SMSEMOA(pop_size=size, **by))
_register("moead", _decomposed, by_direction=True, limits=False)
_register("ctaea", lambda m, size, by: CTAEA(directions(m, size), **by), by_direction=True)
