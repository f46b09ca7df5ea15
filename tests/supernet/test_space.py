"""Choices, architectures and the space that holds them."""

from __future__ import annotations

from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, strategies as st

from supernet.errors import ArchitectureError, SpaceError
from supernet.space import Architecture, Choice, SearchSpace

SPACE = SearchSpace(
    (
        Choice("stage.depth", (1, 2, 3)),
        *(Choice(f"stage.{i}.kernel", (3, 5, 7), ("stage.depth", tuple(range(i + 1, 4)))) for i in range(3)),
        Choice("width", (0.5, 1.0)),
    )
)
genomes = st.tuples(*(st.integers(0, len(choice.values) - 1) for choice in SPACE.choices))


def test_the_size_counts_every_distinct_architecture_once() -> None:
    everything = product(*(range(len(choice.values)) for choice in SPACE.choices))
    assert SPACE.size == len({SPACE.architecture(genes) for genes in everything}) == (3 + 9 + 27) * 2


def test_two_genomes_that_differ_where_nothing_is_built_are_one_architecture() -> None:
    assert SPACE.architecture([0, 1, 2, 2, 1]) == SPACE.architecture([0, 1, 0, 1, 1])


def test_many_architectures_at_once_are_those_made_one_by_one() -> None:
    genes = np.array(list(product(*(range(len(choice.values)) for choice in SPACE.choices))))
    assert SPACE.architectures(genes) == [SPACE.architecture(row) for row in genes.tolist()]


def test_a_choice_under_an_absent_choice_is_a_ghost_too() -> None:
    nested = SearchSpace(
        (Choice("a", (0, 1)), Choice("b", (0, 1), ("a", (1,))), Choice("c", (0, 1), ("b", (0,))))
    )
    assert nested.architecture([0, 0, 1]).genes == (0, 0, 0)
    assert nested.size == 4


@given(genomes)
def test_values_written_and_read_give_the_same_architecture(genes: tuple[int, ...]) -> None:
    arch = SPACE.architecture(genes)
    assert SPACE.encode(SPACE.decode(arch)) == arch


@given(st.lists(genomes, min_size=1, max_size=5))
def test_many_genomes_become_canonical_as_one_by_one(rows: list[tuple[int, ...]]) -> None:
    one_by_one = [SPACE.architecture(genes).genes for genes in rows]
    np.testing.assert_array_equal(SPACE.canonical(np.array(rows)), one_by_one)


def test_a_space_read_back_is_the_same_space() -> None:
    again = SearchSpace.from_json(SPACE.to_json())
    assert again.fingerprint == SPACE.fingerprint
    assert SPACE.sample(Random(0)) in again


def test_equal_seeds_deal_equal_architectures() -> None:
    assert [SPACE.sample(Random(7)) for _ in range(3)] == [SPACE.sample(Random(7)) for _ in range(3)]


@pytest.mark.parametrize(
    ("values", "message"),
    [((), "no values"), ((3, 3), "twice"), ((5, 3), r"not sorted: \(5, 3\); try \(3, 5\)")],
)
def test_a_choice_that_contradicts_itself_is_refused(values: tuple[int, ...], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Choice("kernel", values)


def test_a_need_of_something_unknown_names_the_nearest() -> None:
    with pytest.raises(SpaceError, match="did you mean 'depth'"):
        SearchSpace((Choice("depth", (1, 2)), Choice("kernel", (3, 5), ("depht", (2,)))))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"widht": 0.5}, "did you mean 'width'"),
        ({"width": 0.7}, r"'width' was asked to be 0.7; it can be one of \(0.5, 1.0\)"),
        ({"stage.depth": 1, "width": 1.0}, "no value was given for 'stage.0.kernel'"),
    ],
)
def test_values_outside_the_space_are_named(values: dict[str, float], message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        SPACE.encode(values)


def test_an_architecture_of_another_space_is_refused() -> None:
    other = Architecture((0, 0, 0, 0, 0), "0" * 16)
    with pytest.raises(ArchitectureError, match="not of this space"):
        SPACE.decode(other)
    with pytest.raises(ArchitectureError, match="4 genes was given to a space of 5"):
        SPACE.architecture([0, 0, 0, 0])
    with pytest.raises(ArchitectureError, match=r"gene 3 of 'stage.depth' is outside 0 to 2"):
        SPACE.architecture([3, 0, 0, 0, 0])
