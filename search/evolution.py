"""NSGA-II (Deb et al. 2002) over whole matrices of genes.

A generation of 1,000 takes about a tenth of the time it takes pymoo's, which handles every network as an object and
looks for duplicates by distances: that is what lets a search try ten thousand networks on its models between two
evaluations. Non-dominated sorting is moocore's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import moocore
import numpy as np
from numpy.typing import NDArray

from search.archive import stored
from search.objective import Objective, Values, excesses, losses, views
from search.operators import mix, reset, sample_genes
from supernet.space import Genes, SearchSpace

Order = NDArray[np.intp]


@dataclass(frozen=True)
class Aim:
    """One of the fronts of a search.

    Args:
        columns: of the losses that it is made of.
        place: its column of the excesses.
    """

    columns: list[int]
    place: int = 0


def fronts(objectives: Sequence[Objective]) -> list[Aim]:
    """What each front is made of: one front, or one for each label."""
    column = {i: n for n, i in enumerate(i for i, o in enumerate(objectives) if o.optimise)}
    return [
        Aim([column[i] for i in view if i in column], place) for place, view in enumerate(views(objectives))
    ]


@dataclass(frozen=True)
class Scored:
    """Networks and how good they are.

    Args:
        genes: canonical ``(networks, choices)``, no two rows equal.
        losses: smaller is better ``(networks, objectives)``.
        excess: how far beyond all limits of each front together ``(networks, fronts)``, 0 within.
    """

    genes: Genes
    losses: Values
    excess: Values

    def __len__(self) -> int:
        return len(self.genes)

    def rows(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Scored:
        """Some of them."""
        return Scored(self.genes[which], self.losses[which], self.excess[which])

    @property
    def beyond(self) -> Values:
        """How far beyond the limits of the front whose limits are nearest ``(networks,)``."""
        return np.asarray(self.excess.min(axis=1), dtype=np.float64)

    def of(self, aim: Aim | None) -> Scored:
        """The same as one of the fronts sees it; as it is when None."""
        if aim is None:
            return self
        return Scored(self.genes, self.losses[:, aim.columns], self.excess[:, [aim.place]])

    def joined(self, other: Scored) -> Scored:
        """Both, one below the other."""
        return joined([self, other])


def joined(parts: Sequence[Scored]) -> Scored:
    """Several, one below the other."""
    return Scored(
        np.concatenate([part.genes for part in parts]),
        np.concatenate([part.losses for part in parts]),
        np.concatenate([part.excess for part in parts]),
    )


Judge = Callable[[Genes], Scored]


def scored(objectives: Sequence[Objective], genes: Genes, values: Values) -> Scored:
    """Networks with complete values ``(networks, objectives)`` in natural units."""
    return Scored(genes, losses(objectives, values), excesses(objectives, genes, values))


def ranks(found: Scored) -> tuple[NDArray[np.int64], Values]:
    """The front each network is on, 0 the best, and how far its neighbours there are ``(networks,)`` each.

    Networks beyond a limit come after all others, in the order of their excess.
    """
    rank = _levels(found)
    return rank, _crowding(found.losses, rank)


def _levels(found: Scored) -> NDArray[np.int64]:
    rank = np.asarray(moocore.pareto_rank(found.losses), dtype=np.int64)
    excess = found.beyond
    beyond = excess > 0
    if beyond.any():
        rank = np.where(beyond, len(rank) + np.unique(excess, return_inverse=True)[1], rank)
        within = np.flatnonzero(~beyond)
        if len(within):
            rank[within] = moocore.pareto_rank(found.losses[within])
    return rank


def best_first(found: Scored, count: int | None = None) -> Order:
    """Rows, the better front first and of one front the lonelier ones ``(networks, or count of them)``."""
    rank = _levels(found)
    rows = np.arange(len(rank))
    if count is not None and count < len(rank):  # crowding is only asked for where it decides
        rows = np.flatnonzero(rank <= np.partition(rank, count - 1)[count - 1])
    room = _crowding(found.losses[rows], rank[rows])
    return np.asarray(rows[np.lexsort((-room, rank[rows]))][:count], dtype=np.intp)


def children(
    space: SearchSpace,
    parents: Scored,
    count: int,
    rng: np.random.Generator,
    *,
    mutation: float,
    crossover: float = 1.0,
) -> Genes:
    """Canonical offspring ``(count or one more, choices)`` of the winners of tournaments of two.

    Args:
        mutation: probability that a gene is drawn anew.
        crossover: probability that two parents are mixed at all.
    """
    place = np.empty(len(parents), dtype=np.int64)
    place[best_first(parents)] = np.arange(len(parents))
    pairs = (count + 1) // 2
    drawn = rng.integers(0, len(parents), size=(2, 2 * pairs))
    winners = np.where(place[drawn[0]] <= place[drawn[1]], drawn[0], drawn[1])
    couples = parents.genes[winners].reshape(2, pairs, -1)
    mixed = np.where(rng.random((pairs, 1)) < crossover, mix(couples, rng), couples)
    return space.canonical(reset(space, mixed.reshape(2 * pairs, -1), mutation, rng))


def evolve(
    space: SearchSpace,
    judge: Judge,
    start: Genes,
    rng: np.random.Generator,
    *,
    population: int = 200,
    generations: int = 60,
    mutation: float | None = None,
    aim: Aim | None = None,
) -> Scored:
    """Everything that NSGA-II looks at on its way from ``start``; no network twice.

    Args:
        start: canonical genomes to begin with; filled up with random ones.
        mutation: probability that a gene is drawn anew; None for 1.5 genes per network on average.
        aim: the front that counts; all objectives when None.
    """
    mutation = mutation or min(0.5, 1.5 / len(space))
    known: set[bytes] = set()
    fill = sample_genes(space, max(population - len(start), 0), rng)
    living = judge(unmet(np.concatenate([start, fill]), known))
    seen = [living]
    for _ in range(generations):
        living = living.rows(best_first(living.of(aim), population))
        genes = unmet(children(space, living.of(aim), population, rng, mutation=mutation), known)
        if not len(genes):
            continue
        born = judge(genes)
        living = living.joined(born)
        seen.append(born)
    return joined(seen)


def unmet(genes: Genes, known: set[bytes]) -> Genes:
    """The rows that are not among ``known``, of equal ones the first; ``known`` learns them."""
    kept = []
    for row, key in enumerate(stored(genes)):
        if key not in known:
            known.add(key)
            kept.append(row)
    return genes[kept]


def _crowding(losses: Values, rank: NDArray[np.int64]) -> Values:
    """The distance between the two neighbours on the same front, summed over objectives, each over its range."""
    room = np.zeros(len(losses))
    for column in losses.T:
        order = np.lexsort((column, rank))
        value, level = column[order], rank[order]
        starts = np.flatnonzero(np.r_[True, level[1:] != level[:-1]])
        ends = np.r_[starts[1:], len(level)] - 1
        span = value[ends] - value[starts]
        gap = np.full(len(value), np.inf)
        gap[1:-1] = value[2:] - value[:-2]
        gap /= np.repeat(np.where(span > 0, span, 1.0), ends - starts + 1)
        gap[starts] = gap[ends] = np.inf
        room[order] += gap
    return room
