"""The guided search: a model of what is expensive, searched in place of it, and a batch chosen by hypervolume.

After every batch a Gaussian process is fitted to each expensive objective, on the ordinal encoding of the space and
the logarithms of the cheap objectives. NSGA-II, begun at the best networks known, then looks at some ten thousand
networks: cheap objectives as they are, expensive ones as predicted. Of all that, the next batch is the networks that
together promise most hypervolume.

On the surrogate of once-for-all (accuracy against latency) it reaches after 100 evaluations what NSGA-II reaches after
1,000. The idea is that of LINAS (Cummings et al., arXiv:2205.10358) and of the batches of TSEMO and qEHVI; what
differs from LINAS is the model, exact costs, the warm start, and the batch.
"""

from __future__ import annotations

import moocore
import numpy as np

from predictors.gaussian_process import GaussianProcess
from search.evolution import Scored, best_first, evolve, scored
from search.gain import greedy
from search.objective import Objective, Values
from search.operators import ends, sample_genes
from search.searcher import Terrain, searchers
from search.uniform import strangers
from supernet.encoding import Encoding, Features
from supernet.space import Genes, SearchSpace

FIRST = 20
"""Networks evaluated before there is a model."""
POPULATION, GENERATIONS = 200, 60
"""Of the search on the models."""
SHORTLIST = 3000
"""Candidates among which the batch is chosen."""
ENOUGH = 300
"""Measurements from which a covariance is learned; more make it slower, not better."""
MARGIN = 0.1
"""How far the reference of the hypervolume lies beyond the worst of the front, over its range."""


@searchers.register("guided")
class GuidedSearcher:
    """Asks its models first; see the module."""

    def __init__(self, terrain: Terrain) -> None:
        self._terrain, self._models = terrain, Models(terrain.space, terrain.objectives)
        self._rng = np.random.default_rng([terrain.options.seed, 4])
        self._genes = np.zeros((0, len(terrain.space)), dtype=np.int64)
        self._values = np.zeros((0, len(terrain.objectives)))

    def ask(self) -> Genes:
        """A spread of networks first, then the batch that promises most; none when the space is used up."""
        complete = ~np.isnan(self._values).any(axis=1)
        if complete.sum() >= min(FIRST, self._terrain.options.population):
            asked = self._promising(self._genes[complete], self._values[complete])
        else:
            asked = self._spread()
        return asked if len(asked) else strangers(self._terrain, self._rng)

    def tell(self, genes: Genes, values: Values) -> None:
        """Remember; the models are fitted when they are asked."""
        self._genes = np.concatenate([self._genes, genes])
        self._values = np.concatenate([self._values, values])

    def _spread(self) -> Genes:
        """The smallest, the largest and networks of all sizes between, or those within the limits."""
        space, wanted = self._terrain.space, min(FIRST, self._terrain.options.population)
        begin = [ends(space), self._terrain.start] if not len(self._genes) else []
        genes = np.concatenate([*begin, sample_genes(space, 4 * wanted, self._rng)])
        return genes[self._terrain.unseen(genes)][:wanted]

    def _promising(self, genes: Genes, values: Values) -> Genes:
        space, count = self._terrain.space, batch_size(len(genes))
        self._models.fit(genes, values)
        known = scored(self._terrain.objectives, genes, values)
        begin = known.genes[best_first(known)[: POPULATION // 2]]
        found = evolve(
            space, self._models.judge, begin, self._rng, population=POPULATION, generations=GENERATIONS
        )
        found = found.rows(best_first(found)[:SHORTLIST])
        found = found.rows(self._terrain.unseen(found.genes))
        return found.genes[batch(known, found, count)]


class Models:
    """What is expensive, predicted from what is known of a network for nothing."""

    def __init__(self, space: SearchSpace, objectives: tuple[Objective, ...]) -> None:
        self._encoding, self._objectives = Encoding(space), objectives
        self._processes: dict[int, GaussianProcess] = {}

    def fit(self, genes: Genes, values: Values) -> None:
        """Learn every expensive objective that is optimised or limited from complete values."""
        columns = self._columns(genes, values)
        for i, objective in enumerate(self._objectives):
            if not objective.cheap and (objective.optimise or objective.limit is not None):
                self._processes[i] = learned(columns, values[:, i])

    def judge(self, genes: Genes) -> Scored:
        """Networks with cheap objectives as they are, and expensive ones as predicted."""
        values = np.zeros((len(genes), len(self._objectives)))
        for i, objective in enumerate(self._objectives):
            if objective.cheap:
                values[:, i] = objective(genes)
        columns = self._columns(genes, values)
        for i, process in self._processes.items():
            values[:, i] = process.predict(columns)
        return scored(self._objectives, genes, values)

    def _columns(self, genes: Genes, values: Values) -> Features:
        cheap = {o.name: values[:, i] for i, o in enumerate(self._objectives) if o.cheap}
        logs = {name: np.log(column) if (column > 0).all() else column for name, column in cheap.items()}
        return self._encoding.ordinal(genes, logs)


def learned(columns: Features, values: Values) -> GaussianProcess:
    """A process of all values, with the covariance of at most `ENOUGH` of them."""
    every = -(-len(values) // ENOUGH)
    some = GaussianProcess(columns[::every], values[::every])
    return some if every == 1 else GaussianProcess(columns, values, start=some.covariance, steps=0)


def batch(known: Scored, found: Scored, count: int) -> list[int]:
    """Rows of ``found``: those that together add most hypervolume to what is known, then the best of the rest."""
    rows = np.flatnonzero(found.excess <= 0)
    chosen: list[int] = []
    if len(rows) and found.losses.shape[1] > 1:
        within = known.rows(known.excess <= 0)
        front = (within if len(within) else found.rows(rows)).losses
        front = front[moocore.is_nondominated(front)]
        picked = greedy(front, found.losses[rows], count, reference(front, found.losses))
        chosen = rows[picked].tolist()
    taken = set(chosen)
    rest = [row for row in best_first(found).tolist() if row not in taken]
    return [*chosen, *rest[: count - len(chosen)]]


def reference(front: Values, losses: Values) -> Values:
    """The point up to which hypervolume counts: beyond the worst of the front by a share of its range."""
    span = np.ptp(front, axis=0)
    span = np.where(span > 0, span, np.ptp(losses, axis=0))
    return np.asarray(front.max(axis=0) + MARGIN * np.where(span > 0, span, 1.0), dtype=np.float64)


def batch_size(known: int) -> int:
    """Small while the models learn most from every network, larger when they know the space."""
    return int(np.clip(known // 4, 5, 50))
