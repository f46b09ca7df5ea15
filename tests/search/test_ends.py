from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from search.ends import Ends
from search.engine import SearchResult, search
from search.growth import Growth
from search.objective import Objective
from search.options import SearchOptions, until_of
from supernet.errors import ConfigError
from supernet.space import Choice, SearchSpace
from tests.search import synthetic

SPACE = synthetic.space()
TWO = synthetic.objectives()[:2]
QUICK = SearchOptions(searcher="nsga2", population=10, evaluations=60)


def way(found: SearchResult) -> list[str]:
    return [evaluation.arch.id for evaluation in found.evaluations]


@pytest.mark.parametrize(
    ("typed", "networks", "seconds"),
    [
        ("500", 500, None),
        ("90s", None, 90.0),
        ("10m", None, 600.0),
        ("1h30m", None, 5400.0),
        ("0.5h", None, 1800.0),
    ],
)
def test_an_end_is_a_number_of_networks_or_a_time(
    typed: str, networks: int | None, seconds: float | None
) -> None:
    assert until_of(typed) == (networks, seconds)


@pytest.mark.parametrize("typed", ["", "0", "0s", "ten", "10x", "-5", "m", "5m1h", "1.2.3s", "10 m"])
def test_what_is_neither_is_refused(typed: str) -> None:
    with pytest.raises(ConfigError, match=r"neither a number of networks nor a time; write 500, or 90s, 10m"):
        until_of(typed)


def test_a_time_is_over_once_something_was_evaluated_in_it() -> None:
    now = 5.0
    ends = Ends(replace(QUICK, seconds=10), Growth(TWO), clock=lambda: now)
    assert ends.reached(1) is None
    now = 15.0
    assert (ends.reached(0), ends.reached(1)) == (None, "time")


@pytest.mark.parametrize("ahead", [0, 12])
def test_a_search_in_many_short_calls_walks_the_way_of_one_in_a_long_call(ahead: int, tmp_path: Path) -> None:
    options = replace(QUICK, ahead=ahead, batch=12)
    whole = search(SPACE, TWO, options, tmp_path / "whole")
    assert whole.ended == "budget"
    ended, calls = "", 0
    while ended != "budget":
        found = search(SPACE, TWO, replace(options, seconds=1e-9), tmp_path / "parts")
        ended, calls = str(found.ended), calls + 1
        assert way(found) == way(whole)[: found.spent]
    assert calls >= 60 / options.batch and way(found) == way(whole)


def test_a_front_that_hardly_grows_ends_the_search_and_nothing_is_asked_differently(tmp_path: Path) -> None:
    options = replace(QUICK, plateau=0.02, plateau_evaluations=15, evaluations=80)
    early = search(SPACE, TWO, options, tmp_path / "a")
    whole = search(SPACE, TWO, replace(options, plateau=0), tmp_path / "b")
    assert early.ended == "plateau" and 20 < early.spent < 80
    assert way(early) == way(whole)[: early.spent]
    again = search(SPACE, TWO, options, tmp_path / "a")
    assert (again.ended, again.scored) == ("plateau", 0)
    on = search(SPACE, TWO, replace(options, plateau=0), tmp_path / "a")
    assert (on.ended, way(on)) == ("budget", way(whole))


def test_a_space_that_is_used_up_says_so(tmp_path: Path) -> None:
    small = SearchSpace((Choice("a", (1, 2, 3)), Choice("b", (1, 2))))
    goals = [
        Objective("gain", "", "max", lambda genes: genes.sum(axis=1) * 1.0),
        Objective("cost", "", "min", lambda genes: genes[:, 0] * 1.0, source="exact"),
    ]
    found = search(small, goals, QUICK, tmp_path / "a")
    assert (found.ended, found.spent) == ("space", 6)


@pytest.mark.parametrize(
    ("option", "value"), [("seconds", 0.0), ("plateau", -0.1), ("plateau", 2.0), ("plateau_evaluations", 0)]
)
def test_an_end_that_is_none_is_refused(option: str, value: float) -> None:
    with pytest.raises(ConfigError, match=option):
        SearchOptions(**{option: value})  # type: ignore[arg-type]
