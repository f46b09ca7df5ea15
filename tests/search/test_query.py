"""What is known answers questions without an evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from search.archive import Evaluations
from search.objective import InfeasibleError
from search.operators import sample_genes
from search.query import ask, best, is_question, nearest
from supernet.errors import ConfigError
from tests.search import synthetic

SPACE = synthetic.space()
THREE = synthetic.objectives()
GENES = sample_genes(SPACE, 60, np.random.default_rng(0))
VALUES = np.stack([objective(GENES) for objective in THREE], axis=1)
KNOWN = Evaluations(SPACE, THREE, GENES, VALUES)


def test_the_best_within_limits_is_that_of_looking_at_all() -> None:
    within = [e for e in KNOWN if e.values["latency"] <= 5 and e.values["params"] <= 2e4]
    assert 0 < len(within) < len(KNOWN)
    expected = max(within, key=lambda e: e.values["accuracy"])
    assert best(KNOWN, THREE, "latency_ms<=5, params <= 2e4") == expected
    assert best(KNOWN, THREE) == max(KNOWN, key=lambda e: e.values["accuracy"])
    assert best(KNOWN, THREE, gain="latency") == min(KNOWN, key=lambda e: e.values["latency"])


def test_the_nearest_is_so_by_ratio() -> None:
    assert nearest(KNOWN, THREE, {"latency": KNOWN[7].values["latency"]}) == KNOWN[7]
    wanted = {"latency": 4.0, "params": 1e4}
    far = [sum(np.log(e.values[n] / w) ** 2 for n, w in wanted.items()) for e in KNOWN]
    assert nearest(KNOWN, THREE, wanted) == KNOWN[int(np.argmin(far))]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ("latency_s<=5", "latency is in ms, and the limit says 'latency_s'; write latency_ms"),
        ("latncy<=5", "no objective is called 'latncy'; did you mean 'latency'"),
        ("accuracy<=5", "accuracy is to be large; limit it by >="),
        ("fast please", "'fast please' is no limit; write for example"),
    ],
)
def test_limits_that_can_not_be_meant_are_refused(limits: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        best(KNOWN, THREE, limits)


def test_limits_that_nothing_known_meets_name_the_nearest() -> None:
    with pytest.raises(InfeasibleError, match=r"latency <= 0.01 ms: the nearest of 60"):
        best(KNOWN, THREE, "latency<=0.01")
    with pytest.raises(InfeasibleError, match="search first"):
        best([], THREE)


def test_a_question_is_answered_as_it_is_typed() -> None:
    assert ask(KNOWN, THREE, "latency_ms<=5") == best(KNOWN, THREE, "latency<=5")
    assert ask(KNOWN, THREE, "params ~ 1e4, latency~4") == nearest(
        KNOWN, THREE, {"params": 1e4, "latency": 4}
    )
    assert is_question("params~3") and is_question("a>=1") and not is_question("knee")
    with pytest.raises(ConfigError, match="'params~' is no size"):
        ask(KNOWN, THREE, "params~")
