from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from search.engine import search
from search.gain import View
from search.narrowing import drawn, kept
from search.operators import sample_genes
from search.options import SearchOptions
from tests.search import synthetic

SPACE = synthetic.space()
TWO = synthetic.objectives()[:2]
QUICK = SearchOptions(evaluations=25)


def test_a_network_is_kept_when_the_best_chose_each_of_its_values() -> None:
    rng = np.random.default_rng(0)
    best, genes = sample_genes(SPACE, 6, rng), sample_genes(SPACE, 400, rng)
    chosen = [SPACE.decode(arch) for arch in SPACE.architectures(best)]
    values = {name: {one[name] for one in chosen if name in one} for name in SPACE.decode(SPACE.largest())}
    by_hand = [
        all(value in values[name] for name, value in SPACE.decode(arch).items())
        for arch in SPACE.architectures(genes)
    ]
    assert kept(SPACE, best, genes).tolist() == by_hand
    assert 0 < sum(by_hand) < 400 and kept(SPACE, best, best).all()


def test_chance_draws_in_proportion_to_the_hypervolume_and_nothing_that_adds_none() -> None:
    front = np.array([[-0.5, -0.5]])
    losses = np.array([[-0.6, -0.2], [-0.2, -0.8], [-0.4, -0.4]])  # adding 0.02, 0.06 and nothing
    view, rng = View(front, losses), np.random.default_rng(0)
    assert sorted(drawn([view], 3, rng)) == [0, 1]
    first = [drawn([view], 1, rng)[0] for _ in range(2000)]
    assert abs(np.mean(np.array(first) == 1) - 0.75) < 0.04
    assert drawn([], 3, rng) == []


def test_a_space_that_shrinks_is_searched_only_where_the_best_have_been(tmp_path: Path) -> None:
    whole = search(SPACE, TWO, QUICK, tmp_path / "whole").evaluations.genes
    best, fresh = whole[:20], whole[20:]
    narrow = search(SPACE, TWO, replace(QUICK, shrink_to=0.01), tmp_path / "narrow").evaluations.genes
    assert (narrow[:20] == best).all() and kept(SPACE, best, narrow[20:]).all()
    assert len(fresh) == len(narrow[20:]) == 5


def test_a_batch_drawn_by_chance_is_fresh_and_another_than_the_most_promising(tmp_path: Path) -> None:
    plain, lucky, again = (
        search(SPACE, TWO, replace(QUICK, sampled=share), tmp_path / f"{i}").evaluations.genes
        for i, share in enumerate((0.0, 0.6, 0.6))
    )
    assert (lucky == again).all() and len(np.unique(lucky, axis=0)) == 25
    same = [row.tolist() in plain[20:].tolist() for row in lucky[20:]]
    assert 0 < sum(same) < 5
