"""The subnets to measure reach from end to end."""

from __future__ import annotations

import numpy as np
import pytest

from hardware.sampling import spread
from supernet.space import Choice, SearchSpace
from tests.tiny import tiny_supernet


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return tiny_supernet().space


def test_both_ends_are_measured_and_nothing_twice(space: SearchSpace) -> None:
    archs = spread(space, 24)
    assert archs[:2] == [space.smallest(), space.largest()]
    assert len(set(archs)) == 24


def test_a_seed_fixes_the_choice(space: SearchSpace) -> None:
    assert spread(space, 10, seed=1) == spread(space, 10, seed=1) != spread(space, 10, seed=2)


def test_the_cost_is_covered_evenly_where_uniform_genes_would_not(space: SearchSpace) -> None:
    def cost(genes: np.ndarray) -> np.ndarray:
        return (genes * np.arange(1, len(space) + 1)).sum(1).astype(float)

    prices = np.sort(cost(space.matrix(spread(space, 22, cost=cost))))
    assert np.diff(prices).max() <= 3 * (prices[-1] - prices[0]) / 21


def test_a_small_space_gives_all_it_has() -> None:
    space = SearchSpace((Choice("a", (1, 2)), Choice("b", (1, 2))))
    assert len(spread(space, 10)) == 4
