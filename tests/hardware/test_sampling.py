"""The subnets to measure reach from end to end."""

from __future__ import annotations

import numpy as np
import pytest

from hardware.sampling import d_optimal, spread
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


def test_the_choice_leaves_a_linear_model_less_to_guess_than_any_random_one() -> None:
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(300, 5)) ** 3
    columns = (columns - columns.mean(0)) / columns.std(0)

    def known(rows: np.ndarray) -> float:
        return float(np.linalg.slogdet(np.eye(5) * 0.1 + columns[rows].T @ columns[rows])[1])

    chosen = d_optimal(columns, 12)
    assert len(set(chosen.tolist())) == 12
    assert known(chosen) > max(known(rng.choice(300, 12, replace=False)) for _ in range(200))


def test_a_column_of_noise_decides_little() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(200, 1))
    columns = true + 1e-3 * rng.normal(size=(200, 6))
    chosen = d_optimal(columns, 6)
    assert np.sort(true[chosen, 0])[[0, -1]] == pytest.approx([true.min(), true.max()], abs=0.2)


def test_all_are_chosen_where_there_are_no_more() -> None:
    assert sorted(d_optimal(np.eye(3), 10).tolist()) == [0, 1, 2]
