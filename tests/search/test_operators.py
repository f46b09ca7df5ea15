from __future__ import annotations

import numpy as np

from search.operators import ends, mix, options_of, reset, sample_genes
from tests.search import synthetic

SPACE = synthetic.space()


def test_drawn_genomes_are_canonical_and_in_range() -> None:
    genes = sample_genes(SPACE, 500, np.random.default_rng(0))
    assert (genes == SPACE.canonical(genes)).all()
    assert (genes >= 0).all() and (genes < options_of(SPACE)).all()
    assert set(genes[:, 0]) == {0, 1, 2}


def test_the_ends_are_the_smallest_and_the_largest() -> None:
    assert [tuple(row) for row in ends(SPACE).tolist()] == [SPACE.smallest().genes, SPACE.largest().genes]


def test_every_gene_of_two_children_comes_from_the_two_parents() -> None:
    parents = np.arange(2 * 50 * 8).reshape(2, 50, 8)
    children = mix(parents, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(children, axis=0), parents)
    assert 0.4 < (children[0] == parents[0]).mean() < 0.6


def test_a_reset_gene_takes_another_value_at_the_rate_asked() -> None:
    rng = np.random.default_rng(0)
    genes = np.tile(SPACE.matrix([SPACE.largest()]), (4000, 1))
    changed = reset(SPACE, genes, 0.1, rng) != genes
    np.testing.assert_allclose(changed.mean(axis=0), 0.1, atol=0.02)
    assert (reset(SPACE, genes, 1.0, rng) != genes).all()


def test_a_block_that_is_switched_on_does_not_always_begin_at_its_smallest() -> None:
    genes = np.tile(SPACE.matrix([SPACE.smallest()]), (300, 1))
    after = reset(SPACE, genes, 1.0, np.random.default_rng(0))
    assert set(after[:, SPACE.index("stages.0.2.expand")]) == {0, 1, 2, 3}


def test_operators_leave_what_they_are_given() -> None:
    genes = sample_genes(SPACE, 20, np.random.default_rng(0))
    before = genes.copy()
    reset(SPACE, genes, 1.0, np.random.default_rng(1))
    np.testing.assert_array_equal(genes, before)
