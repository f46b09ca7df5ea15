"""The batch that adds most hypervolume, against adding it up for every candidate."""

from __future__ import annotations

import moocore
import numpy as np
import pytest
from numpy.typing import NDArray

from search.gain import View, greedy, strips

Values = NDArray[np.float64]


def volume(points: Values, reference: Values) -> float:
    inside = points[(points < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    if points.shape[1] == 1:
        return float((reference - inside).max())
    return float(moocore.hypervolume(inside, ref=reference))


def by_trying_all(front: Values, losses: Values, count: int, reference: Values) -> list[int]:
    chosen: list[int] = []
    for _ in range(count):
        base = volume(front, reference)
        gains = [volume(np.concatenate([front, loss[None]]), reference) - base for loss in losses]
        if max(gains) < 1e-12:
            break
        chosen.append(int(np.argmax(gains)))
        front = np.concatenate([front, losses[chosen[-1:]]])
    return chosen


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_the_batch_is_that_of_trying_every_candidate(objectives: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    front, losses = rng.random((4, objectives)) + 0.3, rng.random((30, objectives)) * 1.4
    reference = np.full(objectives, 1.2)
    assert greedy([View.of(front, losses, reference)], 6) == by_trying_all(front, losses, 6, reference)


def test_what_a_candidate_adds_is_the_difference_of_two_hypervolumes() -> None:
    rng = np.random.default_rng(0)
    front, losses = -rng.random((9, 2)), rng.random((50, 2)) * 1.2 - 1.1
    added = [volume(np.concatenate([front, loss[None]]), np.zeros(2)) for loss in losses]
    np.testing.assert_allclose(
        strips(front, losses), np.array(added) - volume(front, np.zeros(2)), atol=1e-12
    )


def test_nothing_is_chosen_where_nothing_is_added() -> None:
    front = np.array([[0.0, 0.0]])
    assert greedy([View.of(front, np.array([[0.5, 0.5], [2.0, -1.0]]), np.ones(2))], 2) == []


@pytest.mark.parametrize("objectives", [2, 3])
def test_of_several_views_the_sum_of_their_shares_decides(objectives: int) -> None:
    rng = np.random.default_rng(1)
    views = [
        View.of(
            rng.random((4, objectives)) + 0.3, rng.random((20, objectives)) * 1.4, np.full(objectives, 1.2)
        )
        for _ in range(3)
    ]
    chosen = greedy(views, 3)
    for place in range(3):
        fronts = [np.concatenate([view.front, view.losses[chosen[:place]]]) for view in views]
        gains = [
            sum(
                volume(np.concatenate([front, view.losses[row : row + 1]]), np.zeros(objectives))
                - volume(front, np.zeros(objectives))
                for front, view in zip(fronts, views)
            )
            for row in range(20)
        ]
        assert int(np.argmax(gains)) == chosen[place]
