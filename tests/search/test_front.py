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
    genes = sample_genes(SPACE, count, np.random.default_rng(0))
    archs = [SPACE.architecture(row) for row in genes.tolist()]
    columns = {objective.name: objective(genes) for objective in objectives}
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


def _points(*values: tuple[float, ...]) -> list[Evaluation]:
    """Networks with these latencies, accuracies and, where given, parameters."""
    archs = sample_genes(SPACE, len(values), np.random.default_rng(0)).tolist()
    names = ("latency", "accuracy", "params")
    return [Evaluation(SPACE.architecture(a), dict(zip(names, (*v, 1.0)))) for a, v in zip(archs, values)]


KNEES = {
    "a bend": ([(1, 50), (2, 80), (6, 85), (10, 90)], [1, 2, 10], ""),
    "no bend": ([(1, 50), (9, 52), (9.5, 60), (10, 90)], [1, 9.5, 10], "has no knee"),
    "two, and one for its size": ([(1, 50, 9), (10, 90, 9), (8, 45, 1)], [1, 8, 10], "has no knee"),
    "two": ([(1, 50), (10, 90)], [1, 1, 10], "is two networks: the fastest is the knee too"),
    "one, and one for its size": ([(1, 90, 9), (8, 45, 1)], [1, 8, 1], "the fastest network is the best too"),
    "one": ([(1, 50)], [1, 1, 1], "is one network"),
}


@pytest.mark.parametrize("case", KNEES)
def test_the_three_chosen_are_the_ends_and_the_bend_or_what_is_next(case: str) -> None:
    values, latencies, remark = KNEES[case]
    chosen = choose(_points(*values), THREE, cost="latency", gain="accuracy")
    assert [e.values["latency"] for _, e in chosen.items()] == latencies
    assert remark in chosen.remark and bool(remark) == bool(chosen.remark)


def test_choosing_from_nothing_and_by_an_unknown_name_is_refused() -> None:
    with pytest.raises(InfeasibleError, match="empty front"):
        choose([], THREE, cost="latency", gain="accuracy")
    with pytest.raises(ConfigError, match="'latncy'; did you mean 'latency'"):
        choose(_evaluations(3), THREE, cost="latncy", gain="accuracy")
