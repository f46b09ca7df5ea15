from __future__ import annotations

import numpy as np
import pytest

from search.objective import Objective, check_objectives, feasible, limited, violation
from search.operators import ends
from search.options import SearchOptions
from supernet.errors import ConfigError, SupernetError
from tests.search import synthetic

ENDS = ends(synthetic.space())


def test_a_score_of_the_wrong_length_is_named() -> None:
    with pytest.raises(SupernetError, match=r"'bad' was asked for 2 architectures .* shape \(1,\)"):
        Objective("bad", "", "min", lambda genes: np.zeros(1))(ENDS)


def test_a_value_that_is_not_finite_names_the_architecture() -> None:
    with pytest.raises(SupernetError, match="'bad' is nan for the genes 0-0-0"):
        Objective("bad", "", "min", lambda genes: np.full(len(genes), np.nan))(ENDS)


def test_a_violation_is_relative_and_counts_on_the_bad_side_only() -> None:
    two = limited(synthetic.objectives()[:2], {"accuracy": 80.0, "latency": 2.0})
    values = np.array([[60.0, 1.0], [90.0, 3.0], [80.0, 2.0]])
    np.testing.assert_allclose(violation(two, values), [[0.25, 0], [0, 0.5], [0, 0]])
    assert feasible(two, values).tolist() == [False, False, True]


def test_an_unknown_value_is_no_violation_but_not_feasible() -> None:
    two = limited(synthetic.objectives()[:2], {"accuracy": 80.0, "latency": 2.0})
    values = np.array([[np.nan, 1.0]])
    assert violation(two, values).tolist() == [[0, 0]]
    assert feasible(two, values).tolist() == [False]


def test_limits_and_objectives_with_wrong_names_are_refused() -> None:
    three = synthetic.objectives()
    with pytest.raises(ConfigError, match="'parms', no objective; did you mean 'params'"):
        limited(three, {"parms": 1e6})
    with pytest.raises(ConfigError, match="two objectives are called 'accuracy'"):
        check_objectives([three[0], three[0]])
    with pytest.raises(ConfigError, match="sense 'down'"):
        Objective("x", "", "down", synthetic.params)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="to be optimised"):
        check_objectives([Objective("x", "", "min", synthetic.params, optimise=False)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"evaluations": 0}, "evaluations is 0; it can be at least 1"),
        ({"crossover": 0.1}, "crossover is 0.1"),
        ({"mutation": 2.0}, "mutation is 2.0"),
        ({"max_latency_ms": -1.0}, "max_latency_ms is -1; give a positive number"),
        ({"max_latency_ms": 0.0}, "max_latency_ms is 0; give a positive number"),
        ({"max_params": float("inf")}, "max_params is inf; give a positive number"),
        ({"max_params": float("nan")}, "max_params is nan; give a positive number"),
    ],
)
def test_options_outside_their_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchOptions(**options)  # type: ignore[arg-type]
