"""The guided search: what its models promise, which batch it takes, and several devices at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search.archive import stored
from search.engine import search
from search.evolution import Aim, scored
from search.front import front, hypervolume
from search.guided import Models, batch, batch_size, fronts, propose_guided, view
from search.objective import InfeasibleError, Objective, Values
from search.operators import sample_genes
from search.options import SearchOptions
from search.searcher import Known, Terrain
from supernet.space import Genes
from tests.search import synthetic

SPACE = synthetic.space()
ACCURACY, LATENCY, PARAMS = synthetic.objectives()
TWO = (ACCURACY, LATENCY)
OPTIONS = SearchOptions(evaluations=60, population=20)


def values_of(objectives: tuple[Objective, ...], genes: Genes) -> Values:
    return np.stack([objective(genes) for objective in objectives], axis=1)


def known_of(count: int, objectives: tuple[Objective, ...] = TWO) -> Known:
    genes = sample_genes(SPACE, count, np.random.default_rng(0))
    return Known(genes, values_of(objectives, genes), genes[:0], set(stored(genes)))


def test_with_sixty_evaluations_it_covers_more_than_nsga2_with_three_times_as_many(tmp_path: Path) -> None:
    guided = search(SPACE, TWO, OPTIONS, tmp_path / "a")
    longer = replace(OPTIONS, searcher="nsga2", evaluations=180)
    plain = search(SPACE, TWO, longer, tmp_path / "b")
    volumes = [hypervolume(found.evaluations, TWO, [40, 12]) for found in (guided, plain)]
    assert volumes[0] > volumes[1]


def test_models_predict_what_is_expensive_and_take_what_is_not_as_it_is() -> None:
    known, ahead = known_of(60), sample_genes(SPACE, 200, np.random.default_rng(1))
    models = Models(SPACE, TWO)
    models.fit(known.genes, known.values)
    found = models.judge(ahead)
    np.testing.assert_allclose(found.losses[:, 1], synthetic.latency_ms(ahead))
    truth = synthetic.accuracy(ahead)
    assert np.abs(-found.losses[:, 0] - truth).mean() < 0.2 * truth.std()


def test_a_batch_adds_more_than_as_many_of_the_best_rank() -> None:
    known = known_of(20)
    there = scored(TWO, known.genes, known.values)
    ahead = sample_genes(SPACE, 400, np.random.default_rng(1))
    found = scored(TWO, ahead, values_of(TWO, ahead))
    chosen = batch(there, found, 6, [Aim([0, 1])])
    both = view(there, found)
    assert both is not None
    assert len(set(chosen)) == 6
    assert batch(there, found, 3, [Aim([0, 1])]) == chosen[:3]
    assert chosen[0] == int(np.argmax(both.gains(np.arange(len(ahead)))))
    one = both.with_row(chosen[0])
    assert chosen[1] == int(np.argmax(one.gains(np.arange(len(ahead)))))


def test_networks_that_are_pending_are_imagined_and_not_asked_for_again() -> None:
    known, terrain = known_of(30), Terrain(SPACE, TWO, OPTIONS, SPACE.matrix([]))
    first = propose_guided(terrain, known, 4, np.random.default_rng(0))
    busy = replace(known, pending=first, taken=known.taken | set(stored(first)))
    second = propose_guided(terrain, busy, 4, np.random.default_rng(0))
    assert not set(stored(first)) & set(stored(second))


def test_objectives_with_labels_make_a_front_for_each_label() -> None:
    there = replace(LATENCY, name="latency a", front="a")
    here = replace(LATENCY, name="latency b", front="b")
    assert fronts((ACCURACY, there, PARAMS, here)) == [Aim([0, 1, 2], 0), Aim([0, 2, 3], 1)]
    assert fronts(TWO) == [Aim([0, 1])]
    assert fronts((there, replace(PARAMS, optimise=False), ACCURACY)) == [Aim([0, 1])]


def test_two_devices_at_once_share_every_evaluation(tmp_path: Path) -> None:
    slow = Objective("latency b", "ms", "min", lambda g: synthetic.params(g) / 1e3, source="exact", front="b")
    goals = (ACCURACY, replace(LATENCY, front="a"), slow)
    together = search(SPACE, goals, replace(OPTIONS, evaluations=40), tmp_path / "a")
    drawn = search(SPACE, goals, replace(OPTIONS, searcher="random", evaluations=120), tmp_path / "b")
    for cost, worst in ((goals[1], 12.0), (goals[2], 40.0)):
        pair = (ACCURACY, cost)
        assert hypervolume(together.evaluations, pair, [40, worst]) > hypervolume(
            drawn.evaluations, pair, [40, worst]
        )


def test_batches_grow_with_what_is_known() -> None:
    sizes = [batch_size(known) for known in (2, 20, 40, 100, 1000)]
    assert sizes == sorted(sizes) and sizes[0] == 5 and sizes[-1] == 50


def devices(*limits: float | None) -> tuple[Objective, ...]:
    """Accuracy, and the latency on two devices: one as it is, one that is slow where the other is fast."""
    turned = replace(LATENCY, name="latency b", front="b", limit=limits[1], score=PARAMS.score)
    return ACCURACY, replace(LATENCY, name="latency a", front="a", limit=limits[0]), turned


@pytest.mark.parametrize("searcher", ["guided", "nsga2"])
def test_a_limit_on_one_device_is_none_on_what_another_gets(searcher: str, tmp_path: Path) -> None:
    goals, options = devices(2.0, None), replace(OPTIONS, searcher=searcher)
    found = search(SPACE, goals, options, tmp_path / "a").evaluations
    fast = [e for e in found if e.values["latency a"] <= 2.0]
    assert fast and len(fast) < len(found)
    slow = front(found, [goals[0], goals[2]])
    assert max(e.values["latency a"] for e in slow) > 2.0
    assert all(e.values["latency a"] <= 2.0 for e in front(found, goals[:2]))


def test_what_is_within_the_limits_of_no_device_is_never_paid_for(tmp_path: Path) -> None:
    goals = devices(2.0, 9000.0)
    found = search(SPACE, goals, OPTIONS, tmp_path / "a").evaluations
    within = [(e.values["latency a"] <= 2.0, e.values["latency b"] <= 9000.0) for e in found]
    assert all(map(any, within)) and {(True, False), (False, True)} <= set(within)


def test_a_limit_that_no_network_meets_on_one_device_is_named(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match=r"latency a <= 0\.01 ms"):
        search(SPACE, devices(0.01, None), OPTIONS, tmp_path / "a")
