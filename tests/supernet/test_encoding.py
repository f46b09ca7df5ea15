"""Architectures as columns: masked, summed over groups, the same for one and for many."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from supernet.encoding import Encoding
from supernet.space import Choice, SearchSpace

DEPTHS = tuple(
    Choice(f"stages.{s}.{b}.{kind}", values, (f"stages.{s}.depth", (2,)) if b else None)
    for s in range(2)
    for b in range(2)
    for kind, values in (("kernel", (3, 5)), ("width", (16, 24, 32)))
)
SPACE = SearchSpace(
    (
        Choice("stages.0.depth", (1, 2)),
        Choice("stages.1.depth", (1, 2)),
        Choice("act", ("relu", "swish")),
        *DEPTHS,
    )
)


@pytest.fixture(scope="module")
def encoding() -> Encoding:
    return Encoding(SPACE)


def genes(count: int = 50) -> np.ndarray:
    rng = Random(0)
    return SPACE.matrix([SPACE.sample(rng) for _ in range(count)])


def column(encoding: Encoding, values: np.ndarray, name: str) -> np.ndarray:
    return values[:, encoding.ordinal_names.index(name)]


def test_every_column_has_a_name(encoding: Encoding) -> None:
    assert encoding.ordinal(genes()).shape == (50, len(encoding.ordinal_names))
    assert encoding.one_hot(genes()).shape == (50, len(encoding.one_hot_names))
    assert len(set(encoding.ordinal_names)) == len(encoding.ordinal_names)


def test_a_value_is_a_share_of_the_largest_and_zero_where_it_does_not_matter(encoding: Encoding) -> None:
    smallest, largest = encoding.ordinal(SPACE.matrix([SPACE.smallest(), SPACE.largest()]))
    place = encoding.ordinal_names.index
    assert smallest[place("stages.0.0.kernel")] == 3 / 5
    assert smallest[place("stages.0.1.kernel")] == 0
    assert largest[place("stages.0.1.width")] == 1


def test_a_sum_is_what_adding_up_by_hand_gives(encoding: Encoding) -> None:
    table = genes()
    values = encoding.ordinal(table)
    for row, found in zip(table, column(encoding, values, "sum(stages.0.kernel*width)")):
        named = SPACE.decode(SPACE.architecture(row.tolist()))
        by_hand = sum(
            float(named.get(f"stages.0.{b}.kernel", 0)) / 5 * float(named.get(f"stages.0.{b}.width", 0)) / 32
            for b in range(2)
        )
        assert found == pytest.approx(by_hand)
    parts = [column(encoding, values, f"sum(stages.{s}.width)") for s in range(2)]
    np.testing.assert_allclose(column(encoding, values, "sum(stages.width)"), parts[0] + parts[1])


def test_text_is_one_hot_in_both(encoding: Encoding) -> None:
    values = encoding.ordinal(genes())
    both = column(encoding, values, "act=relu") + column(encoding, values, "act=swish")
    assert both.tolist() == [1.0] * 50


def test_one_hot_rows_count_the_choices_that_matter(encoding: Encoding) -> None:
    table = genes()
    assert (encoding.one_hot(table).sum(1) == SPACE.matters(table).sum(1)).all()


def test_distinct_architectures_have_distinct_rows(encoding: Encoding) -> None:
    table = np.unique(genes(200), axis=0)
    assert len(np.unique(encoding.ordinal(table), axis=0)) == len(table)


def test_extra_columns_come_last(encoding: Encoding) -> None:
    macs = np.arange(50.0)
    assert (encoding.ordinal(genes(), {"macs": macs})[:, -1] == macs).all()
    assert (encoding.one_hot(genes(), {"macs": macs})[:, -1] == macs).all()


def test_choices_of_two_layers_of_one_block_are_multiplied() -> None:
    space = SearchSpace(
        (Choice("blocks.0.0.conv_pw.width", (16, 32)), Choice("blocks.0.0.conv_dw.kernel", (3, 5)))
    )
    encoding = Encoding(space)
    product = encoding.ordinal_names.index("sum(blocks.0.0.width*kernel)")
    assert encoding.ordinal(space.matrix([space.smallest()]))[0, product] == pytest.approx(0.5 * 0.6)
