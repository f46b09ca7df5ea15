"""Ranks, crowding and evolution over gene matrices against pymoo's, object by object."""

from __future__ import annotations

import numpy as np
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from search.archive import stored
from search.evolution import Scored, best_first, children, evolve, ranks, unmet
from search.objective import losses
from search.operators import ends, sample_genes
from supernet.space import Genes
from tests.search import synthetic

SPACE = synthetic.space()
TWO = tuple(synthetic.objectives()[:2])


def judge(genes: Genes) -> Scored:
    values = np.stack([objective(genes) for objective in TWO], axis=1)
    return Scored(genes, losses(TWO, values), np.zeros((len(genes), 1)))


def sample(count: int, seed: int = 0) -> Scored:
    genes = sample_genes(SPACE, count, np.random.default_rng(seed))
    return judge(unmet(genes, set()))


def test_ranks_and_crowding_are_those_of_pymoo() -> None:
    found = sample(200)
    rank, room = ranks(found)
    for level, front in enumerate(NonDominatedSorting().do(found.losses)):
        assert (rank[front] == level).all()
        theirs = calc_crowding_distance(found.losses[front])
        np.testing.assert_allclose(room[front] / found.losses.shape[1], theirs)


def test_networks_beyond_a_limit_come_last_in_the_order_of_their_excess() -> None:
    found = sample(50)
    excess = np.where(np.arange(50) < 20, np.arange(50)[::-1] / 10, 0.0)[:, None]
    order = best_first(Scored(found.genes, found.losses, excess))
    assert set(order[:30].tolist()) == set(range(20, 50))
    assert order[30:].tolist() == list(range(19, -1, -1))
    within, _ = ranks(Scored(found.genes, found.losses, excess))
    alone, _ = ranks(found.rows(np.arange(20, 50)))
    np.testing.assert_array_equal(within[20:], alone)


def test_children_are_canonical_and_better_parents_have_more_of_them() -> None:
    parents = sample(40)
    rank, _ = ranks(parents)
    born = children(SPACE, parents, 4000, np.random.default_rng(0), mutation=1e-9)
    np.testing.assert_array_equal(SPACE.canonical(born), born)
    near = (born[:, None, :] == parents.genes[None]).sum(axis=2)
    heard = np.bincount(near.argmax(axis=1), minlength=40)
    assert heard[rank == 0].mean() > heard[rank == rank.max()].mean()


def test_evolution_looks_at_no_network_twice_and_finds_better_ones_than_chance() -> None:
    found = evolve(SPACE, judge, ends(SPACE), np.random.default_rng(0), population=40, generations=20)
    assert len(set(stored(found.genes))) == len(found)
    assert 600 < len(found) <= 40 * 21
    drawn = sample(len(found), seed=1)
    best = found.losses[ranks(found)[0] == 0]
    beaten = [(best <= point).all(axis=1).any() for point in drawn.losses[ranks(drawn)[0] == 0]]
    assert np.mean(beaten) > 0.9


def test_a_key_is_the_same_for_equal_rows_only() -> None:
    genes = sample_genes(SPACE, 300, np.random.default_rng(0))
    genes = np.concatenate([genes, genes[:10]])
    assert len(set(stored(genes))) == len(np.unique(genes, axis=0))
    known: set[bytes] = set()
    assert len(unmet(genes, known)) == len(np.unique(genes, axis=0))
    assert not len(unmet(genes, known))
