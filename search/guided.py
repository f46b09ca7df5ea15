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

import time
from collections.abc import Sequence

import moocore
import numpy as np

from predictors.gaussian_process import GaussianProcess
from search.evolution import Aim, Scored, best_first, evolve, fronts, joined, scored
from search.gain import View, greedy
from search.narrowing import FEWEST, drawn, kept
from search.objective import Objective, Values
from search.searcher import Guess, Known, Terrain, searchers
from search.uniform import spread, strangers
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
def propose_guided(terrain: Terrain, known: Known, count: int | None, rng: np.random.Generator) -> Genes:
    """A spread of networks first, then the batch that promises most; none when the space is used up."""
    first = min(FIRST, terrain.options.population)
    missing = first - len(known.genes) - len(known.pending)
    if missing > 0 or len(known.genes) < 2:
        wanted = max(missing, 2)
        return spread(terrain, known, min(count or wanted, wanted), rng)
    wanted = count or batch_size(len(known.genes), len(fronts(terrain.objectives)))
    found = promising(terrain, known, wanted, rng)
    return found if len(found) else strangers(terrain, known, wanted, rng)


def promising(terrain: Terrain, known: Known, count: int, rng: np.random.Generator) -> Genes:
    """The networks that together promise most hypervolume ``(at most count, choices)``."""
    began = time.monotonic()
    space, models = terrain.space, Models(terrain.space, terrain.objectives)
    models.fit(known.genes, known.values)
    there = scored(terrain.objectives, known.genes, known.values)
    if len(known.pending):
        there = there.joined(models.judge(known.pending))
    aims, parts, looked_at = fronts(terrain.objectives), [], 0
    for aim in aims:
        begin = there.genes[best_first(there.of(aim), POPULATION // 2)]
        found = evolve(
            space,
            models.judge,
            begin,
            rng,
            population=POPULATION,
            generations=GENERATIONS,
            aim=aim,
        )
        looked_at += len(found)
        parts.append(found.rows(best_first(found.of(aim), SHORTLIST // len(aims))))
    found = joined(parts)
    found = found.rows(known.fresh(found.genes))
    found = found.rows(terrain.within(found.genes))
    genes = _chosen(terrain, known, there, found, count, rng)
    if len(genes):
        terrain.tell(Guess(genes, models.predict(genes), looked_at, time.monotonic() - began))
    return genes


def _chosen(
    terrain: Terrain, known: Known, there: Scored, found: Scored, count: int, rng: np.random.Generator
) -> Genes:
    """The next batch of candidates: what promises most, and what chance draws where the options ask for that."""
    aims, found = fronts(terrain.objectives), _narrowed(terrain, known, found)
    many = round(count * terrain.options.sampled)
    lucky = np.array(
        drawn(_views(there, found, aims), many, rng) if many and len(found) else [], dtype=np.intp
    )
    rest = found.rows(np.setdiff1d(np.arange(len(found)), lucky))
    best = batch(there.joined(found.rows(lucky)), rest, count - len(lucky), aims)
    return np.concatenate([rest.genes[best], found.genes[lucky]])


def _narrowed(terrain: Terrain, known: Known, found: Scored) -> Scored:
    """Candidates in the part of the space that the best networks known make up; all where that holds none."""
    share = terrain.options.shrink_to
    if share == 1:
        return found
    there = scored(terrain.objectives, known.genes, known.values)
    best = best_first(there, max(FEWEST, round(share * len(there))))
    inside = kept(terrain.space, known.genes[best], found.genes)
    return found.rows(inside) if inside.any() else found


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
        return scored(self._objectives, genes, self.predict(genes))

    def predict(self, genes: Genes) -> Values:
        """Likewise in natural units ``(networks, objectives)``; 0 for an expensive one that is only recorded."""
        values = np.zeros((len(genes), len(self._objectives)))
        for i, objective in enumerate(self._objectives):
            if objective.cheap:
                values[:, i] = objective(genes)
        columns = self._columns(genes, values)
        for i, process in self._processes.items():
            values[:, i] = process.predict(columns)
        return values

    def _columns(self, genes: Genes, values: Values) -> Features:
        cheap = {o.name: values[:, i] for i, o in enumerate(self._objectives) if o.cheap}
        logs = {name: np.log(column) if (column > 0).all() else column for name, column in cheap.items()}
        return self._encoding.ordinal(genes, logs)


def learned(columns: Features, values: Values) -> GaussianProcess:
    """A process of all values, with the covariance of at most `ENOUGH` of them."""
    every = -(-len(values) // ENOUGH)
    some = GaussianProcess(columns[::every], values[::every])
    return some if every == 1 else GaussianProcess(columns, values, start=some.covariance, steps=0)


def batch(known: Scored, found: Scored, count: int, aims: Sequence[Aim]) -> list[int]:
    """Rows of ``found``: those that together add most hypervolume to what is known, then the best of the rest."""
    if not len(found):
        return []
    seen = _views(known, found, aims)
    chosen = greedy(seen, count) if seen else []
    taken = set(chosen)
    rest = [row for row in best_first(found.of(aims[0])).tolist() if row not in taken]
    return [*chosen, *rest[: count - len(chosen)]]


def _views(known: Scored, found: Scored, aims: Sequence[Aim]) -> list[View]:
    return [part for aim in aims if (part := view(known.of(aim), found.of(aim))) is not None]


def view(known: Scored, found: Scored) -> View | None:
    """Candidates beside a front, up to a point beyond its worst by a share of its range.

    Those beyond a limit add nothing. None with a single objective, and where no candidate is within the limits.
    """
    within = found.beyond <= 0
    if found.losses.shape[1] == 1 or not within.any():
        return None
    there = known.losses[known.beyond <= 0]
    front = there if len(there) else found.losses[within]
    front = front[moocore.is_nondominated(front)]
    span = np.ptp(front, axis=0)
    span = np.where(span > 0, span, np.ptp(found.losses[within], axis=0))
    reference = front.max(axis=0) + MARGIN * np.where(span > 0, span, 1.0)
    return View.of(front, np.where(within[:, None], found.losses, np.inf), reference)


def batch_size(known: int, fronts: int = 1) -> int:
    """Small while the models learn most from every network, larger when they know the space.

    Several fronts share a batch, and what one of them learns changes what the others want: theirs are smaller. With
    batches as for one front, four devices came to .959 of their references in 250 evaluations, and not to .983.
    """
    share, most = (4, 50) if fronts == 1 else (8, 20)
    return int(np.clip(known // share, 5, most))
