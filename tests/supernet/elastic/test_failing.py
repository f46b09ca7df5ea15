from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from random import Random

import pytest

from supernet.elastic.failing import failing

NAMES = [f"blocks.{i}.{kind}" for i in range(100) for kind in ("mlp", "heads", "gate")]


def kind(name: str) -> str:
    return name.rpartition(".")[2]


class Standalone:
    """A check in which some groups fail wherever they are; it counts how often it was asked."""

    def __init__(self, bad: Collection[str]) -> None:
        self.bad = bad
        self.calls = 0

    def __call__(self, names: Sequence[str]) -> str | None:
        self.calls += 1
        return next((f"{name} fails" for name in names if name in self.bad), None)


def test_nothing_is_asked_twice_where_everything_holds() -> None:
    check = Standalone(())
    assert failing(NAMES, check, kind) == {}
    assert check.calls == 1


def test_a_kind_of_block_that_fails_is_found_in_a_few_runs_however_deep_the_network() -> None:
    check = Standalone([name for name in NAMES if kind(name) == "heads"])
    found = failing(NAMES, check, kind)
    assert found.keys() == set(check.bad)
    assert check.calls <= 12


@pytest.mark.parametrize("seed", range(8))
def test_what_is_left_holds_and_only_whole_families_go_unasked(seed: int) -> None:
    rng = Random(seed)
    check = Standalone(rng.sample(NAMES, k=rng.choice((1, 3, 40))))
    found = failing(NAMES, check, kind)
    assert set(check.bad) <= found.keys()
    for name in found.keys() - set(check.bad):
        assert {f"blocks.{i}.{kind(name)}" for i in (0, 50, 99)} <= set(check.bad)


def test_the_middle_of_a_family_is_found_when_its_ends_hold() -> None:
    assert failing(NAMES, Standalone(["blocks.50.mlp"]), kind) == {"blocks.50.mlp": "blocks.50.mlp fails"}


@pytest.mark.parametrize("family", [kind, str], ids=["alike", "all different"])
def test_of_groups_that_only_fail_together_the_later_one_goes(family: Callable[[str], str]) -> None:
    def check(names: Sequence[str]) -> str | None:
        return "they clash" if {"blocks.3.mlp", "blocks.7.mlp"} <= set(names) else None

    assert failing(NAMES, check, family) == {"blocks.7.mlp": "only holds without the others: they clash"}
