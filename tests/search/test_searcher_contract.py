"""What every registered searcher promises, whoever brings it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from search.engine import search
from search.objective import Objective
from search.options import SearchOptions
from search.searcher import Terrain, searchers
from supernet.errors import SupernetError
from supernet.space import Choice, Genes, SearchSpace
from tests.search import synthetic

SPACE = synthetic.space()
TWO = tuple(synthetic.objectives()[:2])
QUICK = SearchOptions(evaluations=60, population=10)


@pytest.fixture(params=list(searchers))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Walk:
    """A searcher on its own, told the truth, with everything it has asked for."""

    def __init__(self, name: str, space: SearchSpace = SPACE, seed: int = 0) -> None:
        self.space, self.seen = space, set[tuple[int, ...]]()
        options = replace(QUICK, seed=seed)
        start = np.zeros((0, len(space)), dtype=np.int64)
        self.searcher = searchers[name](Terrain(space, TWO, options, start, self.unseen))

    def unseen(self, genes: Genes) -> NDArray[np.bool_]:
        here: set[tuple[int, ...]] = set()
        fresh = []
        for row in map(tuple, genes.tolist()):
            fresh.append(row not in here and row not in self.seen)
            here.add(row)
        return np.array(fresh, dtype=np.bool_)

    def step(self, keep: int | None = None) -> list[tuple[int, ...]]:
        genes = self.searcher.ask()
        assert genes.shape[1:] == (len(self.space),) and genes.dtype == np.int64
        asked = [tuple(row) for row in genes.tolist()]
        assert len(set(asked)) == len(asked)
        assert not set(asked) & self.seen
        np.testing.assert_array_equal(self.space.canonical(genes), genes)
        kept = genes[:keep]
        self.seen |= {tuple(row) for row in kept.tolist()}
        if len(kept):
            values = np.stack([objective(kept) for objective in TWO], axis=1)
            self.searcher.tell(kept, values)
        return asked


def test_what_it_proposes_is_canonical_unseen_and_never_twice_the_same(name: str) -> None:
    walk = Walk(name)
    assert sum(len(walk.step()) for _ in range(6)) >= 20


def test_it_follows_its_seed_and_what_it_is_told(name: str) -> None:
    one, two, other = Walk(name), Walk(name), Walk(name, seed=1)
    paths = [[walk.step() for _ in range(5)] for walk in (one, two, other)]
    assert paths[0] == paths[1] != paths[2]


def test_it_goes_on_when_it_is_told_of_fewer_than_it_asked_for(name: str) -> None:
    walk = Walk(name)
    for _ in range(4):
        assert walk.step(keep=3)


def test_a_search_by_it_pays_for_the_budget_and_not_more(name: str, tmp_path: Path) -> None:
    asked: list[tuple[int, ...]] = []

    def score(genes: Genes) -> NDArray[np.float64]:
        asked.extend(map(tuple, genes.tolist()))
        return synthetic.accuracy(genes)

    options = replace(QUICK, searcher=name)
    result = search(SPACE, [Objective("accuracy", "%", "max", score), TWO[1]], options, tmp_path / "a")
    assert len(asked) == len(set(asked)) == result.paid == 60


def test_a_search_by_it_that_goes_on_ends_where_an_undisturbed_one_does(name: str, tmp_path: Path) -> None:
    options = replace(QUICK, searcher=name)
    search(SPACE, TWO, replace(options, evaluations=25), tmp_path / "a")
    resumed = search(SPACE, TWO, options, tmp_path / "a")
    at_once = search(SPACE, TWO, options, tmp_path / "b")
    assert resumed.scored == 35
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
    with pytest.raises(SupernetError, match="no searcher is called 'nsga'; did you mean 'nsga2'"):
        search(SPACE, TWO, replace(QUICK, searcher="nsga"), tmp_path / "a")
    assert not (tmp_path / "a").exists()
