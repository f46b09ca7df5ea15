"""What models are told of how deep the stages of an architecture are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from predictors import models
from predictors.columns import Columns, Table
from predictors.models import ALONE, Linear
from supernet.space import Choice, SearchSpace

NESTED = SearchSpace(
    (
        Choice("stages", (1, 2)),
        Choice("depth", (1, 2, 4), ("stages", (2,))),
        Choice("kernel", (3, 5), ("depth", (2, 4))),
        Choice("inputs", ("0+1", "0+2")),
        Choice("from_2", ("pool", "skip"), ("inputs", ("0+2",))),
    )
)


def test_depths_are_the_numbers_that_other_choices_need() -> None:
    genes = np.array([[0, 0, 0, 0, 0], [1, 0, 0, 1, 1], [1, 2, 1, 1, 0]])
    found = Columns(NESTED).table(genes).depths
    # of the stages and of their depth, which is nothing without the second stage; words are no numbers
    np.testing.assert_array_equal(found, [[1, 0], [2, 1], [2, 4]])


def test_without_depths_no_trust_is_weighed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    flat = SearchSpace(tuple(Choice(name, (1, 2, 3)) for name in "abc"))
    table = Columns(flat, macs=lambda genes: 1.0 + genes.sum(1)).table(rng.integers(0, 3, (12, 3)))
    logs, noise = rng.normal(size=12), np.zeros(12)
    monkeypatch.setattr(models, "BlockLinear", lambda *args: args)
    given: Any = Linear(table, logs, noise)._model
    blocks, *_, grid = given
    assert table.depths.shape == (12, 0) and len(grid) == 4 < len(ALONE)
    monkeypatch.undo()
    for mine, all_of_them in zip(
        Linear(table, logs, noise).predict(table),
        models.BlockLinear(blocks, logs, noise, ALONE).predict(blocks),
    ):
        np.testing.assert_allclose(mine, all_of_them)


def test_some_rows_keep_their_depths() -> None:
    genes = np.array([[0, 0, 0, 0, 0], [1, 0, 0, 1, 1], [1, 2, 1, 1, 0]])
    table: Table = Columns(NESTED).table(genes)
    np.testing.assert_array_equal(table.rows(np.array([2, 0])).depths, [[2, 4], [1, 0]])
