"""What every registered searcher promises, whoever brings it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from search.archive import stored
from search.engine import search
from search.objective import Objective
from search.options import SearchOptions
from search.searcher import Known, Terrain, searchers
from supernet.errors import SupernetError
from supernet.space import Choice, Genes, SearchSpace
from tests.search import synthetic

SPACE = synthetic.space()
TWO = tuple(synthetic.objectives()[:2])
QUICK = SearchOptions(evaluations=40, population=10)


@pytest.fixture(params=list(searchers))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Walk:
    """A searcher on its own, told the truth, with everything it has asked for."""

    def __init__(self, name: str, seed: int = 0, options: SearchOptions = QUICK) -> None:
        self.propose, self.seed, self.steps = searchers[name], seed, 0
        start = np.zeros((0, len(SPACE)), dtype=np.int64)
        self.terrain = Terrain(SPACE, TWO, options, start)
        self.known = Known(start, np.zeros((0, 2)), start, set())

    def ask(self, count: int | None = None) -> Genes:
        rng = np.random.default_rng([self.seed, self.steps])
        genes = self.propose(self.terrain, self.known, count, rng)
        assert genes.shape[1:] == (len(SPACE),) and genes.dtype == np.int64
        assert self.known.fresh(genes).all()
        np.testing.assert_array_equal(SPACE.canonical(genes), genes)
        return genes

    def step(self, keep: int | None = None, later: int = 0) -> list[tuple[int, ...]]:
        """Ask, and tell of the first ``keep``; the next ``later`` are pending, the others were never asked for."""
        self.steps += 1
        genes = self.ask()
        kept, pending = genes[:keep], genes[len(genes[:keep]) :][:later]
        values = np.stack([objective(kept) for objective in TWO], axis=1)
        self.known = Known(
            np.concatenate([self.known.genes, kept]),
            np.concatenate([self.known.values, values]),
            np.concatenate([self.known.pending, pending]),
            {*self.known.taken, *stored(kept), *stored(pending)},
        )
        return [tuple(row) for row in genes.tolist()]


def test_what_it_proposes_is_canonical_unseen_and_never_twice_the_same(name: str) -> None:
    walk = Walk(name)
    assert sum(len(walk.step()) for _ in range(5)) >= 15


def test_it_follows_its_seed_and_what_it_is_told_and_nothing_else(name: str) -> None:
    one, two, other = Walk(name), Walk(name), Walk(name, seed=1)
    paths = [[walk.step() for _ in range(3)] for walk in (one, two, other)]
    assert paths[0] == paths[1] != paths[2]
    np.testing.assert_array_equal(one.ask(), one.ask())


def test_it_goes_on_while_some_that_it_asked_for_are_not_evaluated(name: str) -> None:
    walk = Walk(name)
    for _ in range(4):
        assert walk.step(keep=3, later=2)


def test_it_gives_no_more_than_are_wanted(name: str) -> None:
    walk = Walk(name)
    walk.step()
    walk.step()
    assert 1 <= len(walk.ask(2)) <= 2


def test_a_search_by_it_pays_for_the_budget_and_not_more(name: str, tmp_path: Path) -> None:
    asked: list[tuple[int, ...]] = []

    def score(genes: Genes) -> NDArray[np.float64]:
        asked.extend(map(tuple, genes.tolist()))
        return synthetic.accuracy(genes)

    options = replace(QUICK, searcher=name)
    result = search(SPACE, [Objective("accuracy", "%", "max", score), TWO[1]], options, tmp_path / "a")
    assert len(asked) == len(set(asked)) == result.paid == 40


def test_a_search_by_it_that_goes_on_ends_where_an_undisturbed_one_does(name: str, tmp_path: Path) -> None:
    options = replace(QUICK, searcher=name)
    search(SPACE, TWO, replace(options, evaluations=25), tmp_path / "a")
    resumed = search(SPACE, TWO, options, tmp_path / "a")
    at_once = search(SPACE, TWO, options, tmp_path / "b")
    assert resumed.scored == 15
    assert [e.arch for e in resumed.evaluations] == [e.arch for e in at_once.evaluations]


def test_a_search_by_it_stays_within_a_cheap_limit(name: str, tmp_path: Path) -> None:
    def score(genes: Genes) -> NDArray[np.float64]:
        assert (synthetic.latency_ms(genes) <= 4.0).all()
        return synthetic.accuracy(genes)

    limited = synthetic.objectives(latency_limit=4.0)[1]
    result = search(
        SPACE,
        [Objective("accuracy", "%", "max", score), limited],
        replace(QUICK, searcher=name),
        tmp_path / "a",
    )
    assert result.front and all(evaluation.values["latency"] <= 4.0 for evaluation in result.front)


def test_a_search_by_it_ends_when_the_space_is_used_up(name: str, tmp_path: Path) -> None:
    small = SearchSpace((Choice("a", (1, 2, 3)), Choice("b", (1, 2, 3)), Choice("c", (1,))))

    def total(genes: Genes) -> NDArray[np.float64]:
        return genes.sum(axis=1).astype(np.float64)

    options = replace(QUICK, searcher=name)
    result = search(small, [Objective("total", "", "max", total)], options, tmp_path / "a")
    assert result.paid == small.size == 9


def test_a_searcher_that_is_not_registered_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SupernetError, match="no searcher is called 'guide'; did you mean 'guided'"):
        search(SPACE, TWO, replace(QUICK, searcher="guide"), tmp_path / "a")
    assert not (tmp_path / "a").exists()
