"""Numbers as a person would say them."""

from __future__ import annotations

import pytest

from supernet.wording import alike, counted


@pytest.mark.parametrize(
    ("count", "said"), [(0, "no epochs"), (1, "1 epoch"), (2, "2 epochs"), (12345, "12,345 epochs")]
)
def test_a_noun_agrees_with_its_count(count: int, said: str) -> None:
    assert counted(count, "epoch") == said
    assert counted(1, "entry", "entries") == "1 entry" and counted(3, "entry", "entries") == "3 entries"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([40.0, 41.63], ["40.00", "41.63"]),
        ([0.0334, 0.1], ["0.03340", "0.10000"]),
        ([27994.0, 1.0], ["27,994", "1"]),
        ([0.0, -0.5], ["0.0000", "-0.5000"]),
        ([91.5, float("nan")], ["91.50", "-"]),
        ([float("nan")], ["-"]),
        ([], []),
    ],
)
def test_the_numbers_of_a_column_have_the_same_decimals(values: list[float], said: list[str]) -> None:
    assert alike(values) == said
