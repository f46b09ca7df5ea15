from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from supernet.elastic.groups import Unit, compressed, fixed, fresh, is_fixed, regroup, tie, units
from supernet.elastic.trace import Trace, trace
from tests.supernet.elastic.nets import Between, images, seeded


def traced(between: Callable[[Tensor], Tensor], wide: int = 12, out: int | None = None) -> Trace:
    return trace(seeded(lambda: Between(between, wide, out)), images(2, 6))


def test_two_halves_that_are_multiplied_are_one_size() -> None:
    found = traced(lambda x: torch.mul(*x.chunk(2, -1)), out=6)
    group = found.group("first.weight")
    assert group.size == 6
    assert found.extents["first.weight"][0] == ((2, group.name),)
    assert found.extents["last.weight"][1] == ((group.name,),)


def test_a_concatenation_is_its_parts_end_to_end() -> None:
    found = traced(lambda x: torch.cat([x, x[:, :4]], -1), out=16)
    (first, second, third) = found.extents["last.weight"][1]
    assert (first, second) == found.extents["first.weight"][0]
    assert third == first


def test_shuffled_channels_are_followed_through_the_transpose() -> None:
    found = traced(lambda x: x.view(2, 3, 4).transpose(1, 2).reshape(2, 12))
    ((outer, inner),) = found.extents["first.weight"][0]
    assert found.extents["last.weight"][1] == ((inner, outer),)


def test_pieces_taken_apart_and_put_together_hold_the_same_units() -> None:
    def swapped(x: Tensor) -> Tensor:
        a, b = x.split([4, 8], -1)
        return torch.cat([b, a], -1)

    found = traced(swapped)
    assert found.extents["last.weight"][1] == found.extents["first.weight"][0][::-1]


@pytest.mark.parametrize(
    ("between", "why"),
    [
        (lambda x: x.softmax(-1), "softmax"),
        (lambda x: x.flip(-1), "flip"),
        (lambda x: x - x.mean(-1, keepdim=True), "mean"),
        (lambda x: x[:, ::2].repeat(1, 2), "every other"),
        (lambda x: x + torch.arange(12.0), "fixed size"),
    ],
)
def test_what_mixes_the_entries_of_an_axis_keeps_it_whole(
    between: Callable[[Tensor], Tensor], why: str
) -> None:
    groups = traced(between).groups.values()
    reasons = [group.frozen for group in groups if ("first.weight", 0) in group.members]
    assert reasons
    assert all(reason is not None and why in reason for reason in reasons)


@pytest.mark.parametrize("equation", ["bhi,bhj->bhij", "bhi,bhi->bh"])
def test_einsum_follows_letters(equation: str) -> None:
    def between(x: Tensor) -> Tensor:
        y = x.view(2, 3, 4)
        return torch.einsum(equation, y, y).flatten(1)

    found = traced(between, out=48 if equation.endswith("ij") else 3)
    heads = [g for g in found.groups.values() if g.size == 3 and ("last.weight", 1) in g.members]
    assert [group.frozen for group in heads] == [None]


def test_groups_of_a_convolution_move_as_wholes() -> None:
    model = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 24, 3, groups=4), nn.Conv2d(24, 2, 1))
    )
    found = trace(model, images(1, 3, 8, 8))
    group = found.group("1.weight")
    assert group.size == 4
    assert found.extents["0.weight"][0] == ((group.name, 3),)
    assert found.extents["2.weight"][1] == ((group.name, 6),)


def test_a_unit_becomes_what_it_is_tied_to() -> None:
    channels, heads = fresh(24), ((Unit(6), 4),)
    tie(channels, heads, "test")
    assert compressed(channels) == heads


def test_two_divisions_of_one_size_freeze_each_other() -> None:
    a, b = ((Unit(4), 6),), ((Unit(3), 8),)
    tie(a, b, "test")
    assert all(unit.frozen for axis in (a, b) for unit in units(axis))


def test_a_reshape_to_heads_and_back_is_the_same_axis() -> None:
    channels = fresh(24)
    heads = regroup([fixed(2), channels], (2, 6, 4))
    assert compressed(regroup(heads, (2, 24))[1]) == compressed(channels)


def test_axes_of_one_entry_are_fixed() -> None:
    assert is_fixed(fresh(1))
