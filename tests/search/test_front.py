from __future__ import annotations

import numpy as np
import pytest

from search.archive import Evaluation
from search.front import choose, front, hypervolume
from search.objective import InfeasibleError, Objective, limited
from search.operators import sample_genes
from supernet.errors import ConfigError
from tests.search import synthetic

SPACE = synthetic.space()
THREE = synthetic.objectives()


def _evaluations(count: int, objectives: list[Objective] = THREE) -> list[Evaluation]:
    archs = [SPACE.architecture(row) for row in sample_genes(SPACE, count, np.random.default_rng(0)).tolist()]
    columns = {objective.name: objective(archs) for objective in objectives}
    return [Evaluation(a, {n: float(c[i]) for n, c in columns.items()}) for i, a in enumerate(archs)]


def _beats(one: Evaluation, other: Evaluation) -> bool:
    pairs = [(o.sign * one.values[o.name], o.sign * other.values[o.name]) for o in THREE]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def test_the_front_is_the_one_found_by_comparing_all_pairs() -> None:
    seen = _evaluations(200)
    brute = {one.arch for one in seen if not any(_beats(other, one) for other in seen)}
    assert {evaluation.arch for evaluation in front(seen, THREE)} == brute
    assert len(brute) < 200


def test_the_front_does_not_depend_on_the_order_of_evaluation() -> None:
    seen = _evaluations(200)
    assert front(seen, THREE) == front(seen[::-1], THREE)


def test_networks_beyond_a_limit_are_not_on_the_front() -> None:
    seen = _evaluations(200)
    tight = limited(THREE, {"latency": 4.0, "params": None})
    assert {e.values["latency"] <= 4.0 for e in front(seen, tight)} == {True}


def test_an_objective_that_is_only_recorded_does_not_shape_the_front() -> None:
    recorded = Objective("params", "", "min", synthetic.params, optimise=False)
    seen = _evaluations(200)
    assert front(seen, [*THREE[:2], recorded]) == front(seen, THREE[:2])


def test_the_hypervolume_of_two_points_is_the_area_of_their_rectangles() -> None:
    objectives = THREE[:2]
    a, b = SPACE.smallest(), SPACE.largest()
    two = [
        Evaluation(a, {"accuracy": 60.0, "latency": 1.0}),
        Evaluation(b, {"accuracy": 80.0, "latency": 5.0}),
    ]
    # against (50 %, 10 ms): 10 x 9 of the first, 20 more percent over the last 5 ms
    assert hypervolume(two, objectives, [50, 10]) == pytest.approx(10 * 9 + 20 * 5)
    with pytest.raises(ConfigError, match="reference of 1 values"):
        hypervolume(two, objectives, [50])


def test_the_three_chosen_are_the_ends_and_the_bend() -> None:
    arch = [SPACE.architecture(row) for row in sample_genes(SPACE, 4, np.random.default_rng(0)).tolist()]
    values = [(1.0, 50.0), (2.0, 80.0), (6.0, 85.0), (10.0, 90.0)]
    points = [Evaluation(a, {"latency": x, "accuracy": y}) for a, (x, y) in zip(arch, values)]
    chosen = choose(points, THREE, cost="latency", gain="accuracy")
    assert [e.values["latency"] for _, e in chosen.items()] == [1.0, 2.0, 10.0]


def test_a_front_of_one_point_is_all_three() -> None:
    (only,) = _evaluations(1)
    assert {e.arch for _, e in choose([only], THREE, cost="latency", gain="accuracy").items()} == {only.arch}


def test_choosing_from_nothing_and_by_an_unknown_name_is_refused() -> None:
    with pytest.raises(InfeasibleError, match="empty front"):
        choose([], THREE, cost="latency", gain="accuracy")
    with pytest.raises(ConfigError, match="'latncy'; did you mean 'latency'"):
        choose(_evaluations(3), THREE, cost="latncy", gain="accuracy")
