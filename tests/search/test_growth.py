from __future__ import annotations

from dataclasses import replace

import moocore
import numpy as np
import pytest

from search.archive import Evaluations
from search.growth import FIRST, MARGIN, Growth, growth_of
from search.objective import Objective, Values
from search.operators import sample_genes
from supernet.space import Genes
from tests.search import synthetic

SPACE = synthetic.space()
TWO = synthetic.objectives()[:2]
GENES = sample_genes(SPACE, 40, np.random.default_rng(0))


def values_of(objectives: list[Objective], genes: Genes = GENES) -> Values:
    return np.stack([objective(genes) for objective in objectives], axis=1)


def seen(objectives: list[Objective], genes: Genes = GENES) -> Evaluations:
    return Evaluations(SPACE, objectives, genes, values_of(objectives, genes))


def by_hand(objectives: list[Objective], count: int) -> float:
    """The volume that the first networks dominate of the box of the first 20, all at once."""
    losses = values_of(objectives) * [objective.sign for objective in objectives]
    best, worst = losses[:FIRST].min(axis=0), losses[:FIRST].max(axis=0)
    far = best + (1 + MARGIN) * (worst - best)
    return float(moocore.hypervolume(losses[:count], ref=far) / np.prod(far - best))


@pytest.mark.parametrize("count", [2, 3])
def test_the_share_after_each_network_is_that_of_all_networks_until_then(count: int) -> None:
    goals = synthetic.objectives()[:count]
    shares = growth_of(seen(goals), goals).shares
    assert shares.shape == (40, 1)
    np.testing.assert_allclose(shares[:, 0], [by_hand(goals, i) for i in range(1, 41)])
    assert (np.diff(shares[:, 0]) >= 0).all() and shares[0, 0] < shares[-1, 0]


def test_networks_learned_one_by_one_give_the_curve_of_all_at_once() -> None:
    values, found = values_of(TWO), Growth(TWO)
    for row in range(40):
        assert len(found.shares) == (0 if row < FIRST else row)
        found.learn(GENES[[row]], values[[row]])
    np.testing.assert_array_equal(found.shares, growth_of(seen(TWO), TWO).shares)


def test_a_failed_evaluation_and_one_beyond_a_limit_add_nothing() -> None:
    limit = float(np.median(values_of(TWO)[:, 1]))
    goals = [TWO[0], replace(TWO[1], limit=limit)]
    values = values_of(goals)
    found = Growth(goals)
    broken = np.where(np.arange(40)[:, None] == 30, np.nan, values)
    found.learn(GENES, broken)
    grew = np.flatnonzero(np.diff(found.shares[:, 0], prepend=0.0) > 0)
    assert (values[grew, 1] <= limit).all() and 30 not in grew
    assert found.boxes[0].worst[1] <= limit * (1 + MARGIN)


def test_each_device_has_the_curve_of_a_search_of_its_own() -> None:
    slow = replace(TWO[1], name="slow", score=lambda genes: synthetic.latency_ms(genes) ** 2)
    both = [TWO[0], replace(TWO[1], front="one"), replace(slow, front="other")]
    shares = growth_of(seen(both), both).shares
    for place, alone in enumerate(([TWO[0], TWO[1]], [TWO[0], slow])):
        np.testing.assert_allclose(shares[:, place], growth_of(seen(alone), alone).shares[:, 0])


def test_a_baseline_is_measured_in_the_box_of_the_search() -> None:
    own = growth_of(seen(TWO), TWO)
    few = growth_of(seen(TWO, GENES[25:]), TWO, own.boxes)
    front = np.concatenate([GENES[25:]])
    losses = values_of(TWO, front) * [-1, 1]
    box = own.boxes[0]
    volume = moocore.hypervolume(losses, ref=box.worst) / np.prod(box.worst - box.best)
    assert few.shares[-1, 0] == pytest.approx(float(volume)) and len(few.shares) == 15


def test_growth_is_told_as_a_share_of_what_there_is() -> None:
    found = growth_of(seen(TWO), TWO)
    assert found.grown(10) == pytest.approx(1 - found.shares[29, 0] / found.shares[39, 0])
    assert found.grown(40) == float("inf")
