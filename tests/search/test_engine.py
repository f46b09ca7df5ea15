from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from search.archive import Archive, stored
from search.engine import SearchResult, random_search, search
from search.front import hypervolume, standing
from search.objective import InfeasibleError, Objective
from search.options import SearchOptions
from supernet.errors import SupernetError
from supernet.space import Choice, Genes, SearchSpace
from tests.search import synthetic

SPACE = synthetic.space()
TWO = synthetic.objectives()[:2]
QUICK = SearchOptions(searcher="nsga2", evaluations=120, population=20)


def _numbers(result: SearchResult) -> list[tuple[str, str]]:
    """Every digit of every value, in order; as text, in which nan equals nan."""
    return [(evaluation.arch.id, repr(evaluation.values)) for evaluation in result.evaluations]


def test_the_search_covers_more_than_random_networks_of_the_same_number(tmp_path: Path) -> None:
    gained = []
    for seed in range(3):
        options = SearchOptions(searcher="nsga2", evaluations=400, population=40, seed=seed)
        found = search(SPACE, TWO, options, tmp_path / f"search{seed}")
        drawn = random_search(SPACE, TWO, options, tmp_path / f"random{seed}")
        assert len(found.evaluations) == len(drawn.evaluations) == 400
        reference = [40, 12]
        gained.append(
            hypervolume(found.evaluations, TWO, reference) / hypervolume(drawn.evaluations, TWO, reference)
        )
    assert min(gained) > 1.0
    assert np.mean(gained) > 1.03


@pytest.mark.parametrize("walk", [search, random_search])
def test_no_network_is_evaluated_twice(walk: object, tmp_path: Path) -> None:
    asked: list[tuple[int, ...]] = []

    def score(genes: Genes) -> NDArray[np.float64]:
        asked.extend(map(tuple, genes.tolist()))
        return synthetic.accuracy(genes)

    result = walk(SPACE, [Objective("accuracy", "%", "max", score), TWO[1]], QUICK, tmp_path / "a")  # type: ignore[operator]
    assert len(asked) == len(set(asked)) == result.paid == 120


@pytest.mark.parametrize("walk", [search, random_search])
def test_the_same_command_again_is_answered_from_the_archive(walk: object, tmp_path: Path) -> None:
    first = walk(SPACE, TWO, QUICK, tmp_path / "a")  # type: ignore[operator]
    again = walk(SPACE, TWO, QUICK, tmp_path / "a")  # type: ignore[operator]
    assert (first.scored, again.scored) == (120, 0)
    assert _numbers(first) == _numbers(again)
    assert first.front == again.front


def test_a_network_with_two_expensive_values_is_scored_once(tmp_path: Path) -> None:
    told = Objective("share", "%", "max", synthetic.accuracy, optimise=False)
    both = search(SPACE, [*TWO, told], QUICK, tmp_path / "a")
    assert (both.paid, both.scored) == (120, 120)
    assert all(e.values["share"] == e.values["accuracy"] for e in both.evaluations)
    assert _numbers(search(SPACE, TWO, QUICK, tmp_path / "b")) == [
        (e.arch.id, repr({name: e.values[name] for name in ("accuracy", "latency")}))
        for e in both.evaluations
    ]


def test_more_evaluations_continue_a_finished_search(tmp_path: Path) -> None:
    search(SPACE, TWO, replace(QUICK, evaluations=50), tmp_path / "a")
    further = search(SPACE, TWO, QUICK, tmp_path / "a")
    at_once = search(SPACE, TWO, QUICK, tmp_path / "b")
    assert further.scored == 70
    assert _numbers(further) == _numbers(at_once)


class Judge:
    """Accuracy that counts how often each network was asked for."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def __call__(self, genes: Genes) -> NDArray[np.float64]:
        self.asked += stored(genes)
        return synthetic.accuracy(genes)

    def goals(self, *others: Objective) -> list[Objective]:
        """It and others."""
        return [Objective("accuracy", "%", "max", self, depends={"weights": "0123"}), *others]


def test_no_change_of_the_search_pays_for_a_network_again(tmp_path: Path) -> None:
    judge, path = Judge(), tmp_path / "a"
    latency, params = synthetic.objectives()[1:]
    search(SPACE, judge.goals(latency), QUICK, path)
    slower = replace(latency, name="latency", score=lambda genes: 2 * synthetic.latency_ms(genes))
    for goals, options in (
        (judge.goals(slower), QUICK),  # another device, or a new profile
        ([latency, *judge.goals()], QUICK),  # in another order
        (judge.goals(latency), replace(QUICK, seed=1)),
        (judge.goals(latency), replace(QUICK, searcher="random")),
    ):
        found = search(SPACE, goals, options, path)
        assert (found.scored, found.paid) == (0, 120)
    assert len(judge.asked) == 120
    for goals in (judge.goals(latency, params), judge.goals(replace(latency, limit=3.0))):
        assert search(SPACE, goals, QUICK, path).scored == 120
    assert len(judge.asked) == len(set(judge.asked)) == 360


def test_another_seed_sees_other_networks(tmp_path: Path) -> None:
    one, other = (
        search(SPACE, TWO, replace(QUICK, seed=seed), tmp_path / f"{seed}").evaluations for seed in (0, 1)
    )
    assert len({e.arch for e in one} & {e.arch for e in other}) < 20


def test_a_value_that_depends_on_something_else_is_evaluated_anew(tmp_path: Path) -> None:
    search(SPACE, Judge().goals(TWO[1]), QUICK, tmp_path / "a")
    other = replace(Judge().goals()[0], depends={"weights": "4567"})
    assert search(SPACE, [other, TWO[1]], QUICK, tmp_path / "a").scored == 120


def test_one_network_that_can_not_be_evaluated_costs_only_itself(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def score(genes: Genes) -> NDArray[np.float64]:
        asked.extend(stored(genes))
        values = synthetic.accuracy(genes)
        if (genes.sum(axis=1) % 7 == 3).any():
            raise RuntimeError("out of memory")
        return np.where(genes.sum(axis=1) % 7 == 4, np.nan, values)

    goal = Objective("accuracy", "%", "max", score)
    found = search(SPACE, [goal, TWO[1]], QUICK, tmp_path / "a")
    wrong = {3, 4}
    assert found.failed > 0 and found.paid + found.failed == found.scored == 120
    assert all(sum(e.arch.genes) % 7 not in wrong for e in found.evaluations)
    with Archive(tmp_path / "a", SPACE) as archive:
        failures = archive.failures(goal)
        assert len(failures) == found.failed
        assert {note for _, note in failures} == {"RuntimeError: out of memory", "the value is nan"}
        assert {sum(arch.genes) % 7 for arch, _ in failures} == wrong
    before = len(asked)
    further = search(SPACE, [goal, TWO[1]], replace(QUICK, evaluations=150), tmp_path / "a")
    assert not {stored(SPACE.matrix([arch]))[0] for arch, _ in failures} & set(asked[before:])
    assert further.scored == 30


def test_a_search_of_which_nothing_can_be_evaluated_says_why(tmp_path: Path) -> None:
    def score(genes: Genes) -> NDArray[np.float64]:
        raise OSError("the images are gone")

    with pytest.raises(SupernetError, match=r"accuracy could be evaluated for none .* OSError: the images"):
        search(SPACE, [Objective("accuracy", "%", "max", score), TWO[1]], QUICK, tmp_path / "a")
    # and once that is mended, the same command goes on as if nothing had been
    assert search(SPACE, TWO, QUICK, tmp_path / "a").failed == 0


def test_a_limit_is_held_by_the_bound_of_a_prediction(tmp_path: Path) -> None:
    accuracy, latency = TWO
    unsure = replace(
        latency, source="predicted", limit=4.0, bound=lambda genes: 1.3 * synthetic.latency_ms(genes)
    )
    found = search(SPACE, [accuracy, unsure], QUICK, tmp_path / "a")
    assert all(1.3 * e.values["latency"] <= 4.0 for e in found.evaluations)
    assert {standing(e, [accuracy, unsure])["latency"] for e in found.front} == {"predicted"}
    plain = search(SPACE, [accuracy, replace(unsure, bound=None)], QUICK, tmp_path / "b")
    assert max(e.values["latency"] for e in plain.front) > max(e.values["latency"] for e in found.front)
    # what another search paid for is not let through by the prediction alone
    again = search(SPACE, [accuracy, unsure], QUICK, tmp_path / "b")
    assert all(1.3 * e.values["latency"] <= 4.0 for e in again.front)


CHILD = """
import sys, time
from pathlib import Path
from search.engine import search
from search.objective import Objective
from search.options import SearchOptions
from tests.search import synthetic

def slowly(genes):
    time.sleep(0.02)
    return synthetic.accuracy(genes)

two = [Objective("accuracy", "%", "max", slowly), synthetic.objectives()[1]]
search(synthetic.space(), two, SearchOptions("nsga2", evaluations=120, population=20, batch=1), Path(sys.argv[1]))
"""


def _recorded(path: Path) -> int:
    with Archive(path, SPACE) as archive:
        return len(archive.values(TWO[0]))


def test_a_killed_search_ends_at_the_numbers_of_an_undisturbed_one(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 60
    while not path.exists() or _recorded(path) < 30:
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    resumed = search(SPACE, TWO, QUICK, path)
    undisturbed = search(SPACE, TWO, QUICK, tmp_path / "other")
    assert 0 < resumed.scored <= 120 - 30
    assert _numbers(resumed) == _numbers(undisturbed)
    assert resumed.front == undisturbed.front


def test_networks_beyond_a_cheap_limit_are_not_handed_to_the_expensive_score(tmp_path: Path) -> None:
    def score(genes: Genes) -> NDArray[np.float64]:
        assert (synthetic.latency_ms(genes) <= 2.0).all()
        return synthetic.accuracy(genes)

    objectives = [Objective("accuracy", "%", "max", score), *synthetic.objectives(latency_limit=2.0)[1:]]
    result = search(SPACE, objectives, QUICK, tmp_path / "a")
    assert result.paid == 120
    assert all(evaluation.values["latency"] <= 2.0 for evaluation in result.front)


def test_a_limit_below_the_smallest_network_is_refused_with_the_nearest_value(tmp_path: Path) -> None:
    with pytest.raises(
        InfeasibleError, match=r"latency <= 0\.1 ms.*has 0\.84 ms; raise that limit to at least 0\.84 ms"
    ):
        search(SPACE, synthetic.objectives(latency_limit=0.1), QUICK, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_the_value_an_infeasible_message_suggests_is_feasible(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError) as error:
        search(SPACE, synthetic.objectives(params_limit=100), QUICK, tmp_path / "a")
    suggested = float(str(error.value).rsplit(maxsplit=1)[-1])
    assert search(SPACE, synthetic.objectives(params_limit=suggested), QUICK, tmp_path / "a").front


def test_two_limits_that_exclude_each_other_are_named_together(tmp_path: Path) -> None:
    accuracy, latency, _ = synthetic.objectives(latency_limit=0.9)
    good = Objective("accuracy", "%", "max", accuracy.score, limit=90.0, source="exact")
    with pytest.raises(InfeasibleError, match=r"accuracy >= 90 % and latency <= 0.9 ms together"):
        search(SPACE, [good, latency], QUICK, tmp_path / "a")


def test_an_expensive_limit_out_of_reach_ends_with_the_best_that_was_found(tmp_path: Path) -> None:
    proud = Objective("accuracy", "%", "max", synthetic.accuracy, limit=99.9)
    with pytest.raises(
        InfeasibleError, match=r"accuracy >= 99.9 %.* has 91.5 %; lower that limit to at most 91.5 %"
    ):
        search(SPACE, [proud, TWO[1]], QUICK, tmp_path / "a")


@pytest.mark.parametrize("walk", [search, random_search])
def test_a_space_smaller_than_the_budget_is_searched_whole(walk: object, tmp_path: Path) -> None:
    small = SearchSpace((Choice("a", (1, 2, 3)), Choice("b", (1, 2, 3)), Choice("c", (1,))))

    def total(genes: Genes) -> NDArray[np.float64]:
        return genes.sum(axis=1).astype(np.float64)

    result = walk(small, [Objective("total", "", "max", total)], QUICK, tmp_path / "a")  # type: ignore[operator]
    assert result.paid == small.size == 9
    assert [evaluation.values["total"] for evaluation in result.front] == [4.0]


def test_the_first_networks_are_the_smallest_and_the_largest(tmp_path: Path) -> None:
    result = search(SPACE, TWO, QUICK, tmp_path / "a")
    assert [evaluation.arch for evaluation in result.evaluations[:2]] == [SPACE.smallest(), SPACE.largest()]


def test_progress_counts_up_to_the_budget(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    search(SPACE, TWO, QUICK, tmp_path / "a", progress=lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert calls[-1] == (120, 120)


def test_an_archive_may_be_read_after_the_search(tmp_path: Path) -> None:
    result = search(SPACE, TWO, QUICK, tmp_path / "a")
    with Archive(tmp_path / "a", SPACE) as archive:
        assert {e.arch for e in archive.evaluations(TWO)} == {e.arch for e in result.evaluations}


def test_evaluations_are_seen_anew_when_what_costs_nothing_has_changed(tmp_path: Path) -> None:
    found = search(SPACE, TWO, replace(QUICK, evaluations=40), tmp_path / "a")
    turned = replace(TWO[1], score=lambda genes: 20 - synthetic.latency_ms(genes))
    anew = found.anew([TWO[0], turned])
    assert [e.arch for e in anew.evaluations] == [e.arch for e in found.evaluations]
    assert [e.values["accuracy"] for e in anew.evaluations] == [
        e.values["accuracy"] for e in found.evaluations
    ]
    assert [e.values["latency"] for e in anew.evaluations] == [
        20 - e.values["latency"] for e in found.evaluations
    ]
    assert {e.arch for e in anew.front} != {e.arch for e in found.front}
    # a search that reads what is known of this archive, and pays for nothing
    told = search(SPACE, [TWO[0], turned], replace(QUICK, evaluations=40), tmp_path / "a")
    assert told.scored == 0 and {e.arch for e in told.front} == {e.arch for e in anew.front}
    assert (anew.scored, anew.spent, anew.ended) == (40, 40, "budget")
