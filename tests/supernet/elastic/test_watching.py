"""Code that compares sizes may go another way in a narrower network; where it could, sizes are fixed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from random import Random

import pytest
import torch
from torch import Tensor, nn

from supernet import elasticise
from supernet.elastic.watching import Size, watching
from tests.supernet.elastic.nets import Between, images, seeded


class Block(nn.Module):
    """Two maps, joined as ``join`` says."""

    def __init__(self, wide: int, out: int, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.mix, self.join = nn.Conv2d(wide, out, 1), join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(x, self.mix(x).relu())


class Chain(nn.Module):
    """Blocks of 64, 64 and 96 channels."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 64, 3), nn.Linear(96, 5)
        self.blocks = nn.Sequential(Block(64, 64, join), Block(64, 96, join))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


JOINS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "equal shapes": lambda x, y: x + y if x.shape == y.shape else y,
    "equal sizes": lambda x, y: x + y if x.size(1) == y.size(1) else y,
    "a difference": lambda x, y: y if y.shape[1] - x.shape[1] else x + y,
    "an ordering": lambda x, y: x + y if x.shape[1] >= y.shape[1] else y,
    "a quotient": lambda x, y: x + y if y.shape[1] // x.shape[1] * x.shape[1] == y.shape[1] else y,
}


def sums(network: nn.Module, x: Tensor) -> int:
    """How often a network adds two maps."""
    with torch.no_grad(), watching(double=False) as watched:
        network(x)
    return watched.calls.count("add")


@pytest.mark.parametrize("name", JOINS)
def test_widths_that_coincide_add_no_residual(name: str) -> None:
    x = images(1, 3, 6, 6)
    model = seeded(lambda: Chain(JOINS[name]))
    expected = sums(model, x)
    net = elasticise(model, x, dims=("residual", "hidden"))
    for values in product(*(choice.values for choice in net.space.choices)):
        arch = net.space.encode(dict(zip((choice.name for choice in net.space.choices), values)))
        assert sums(net.extract(arch), x) == expected
    # No width of either side is safe from a quotient; of all others, one size is enough.
    assert name == "a quotient" or net.space.log10_size > 0


def test_a_residual_decided_when_the_network_is_made_costs_nothing() -> None:
    class Made(Block):
        def __init__(self, wide: int, out: int) -> None:
            super().__init__(wide, out, torch.add)
            self.wide, self.out = wide, out

        def forward(self, x: Tensor) -> Tensor:
            return x + self.mix(x) if self.wide == self.out else self.mix(x)

    class Network(Chain):
        def __init__(self) -> None:
            super().__init__(torch.add)
            self.blocks = nn.Sequential(Made(64, 64), Made(64, 96))

    net = elasticise(seeded(Network), (1, 3, 6, 6), dims=("residual", "hidden"))
    assert len(net.space) == 2


THRESHOLDS: dict[str, Callable[[Tensor], Tensor]] = {
    "a threshold": lambda x: x.relu() if x.shape[1] > 24 else x,
    "a remainder": lambda x: x.relu() if x.shape[1] % 16 == 0 else x,
    "a loop": lambda x: sum((x.roll(i, 0) for i in range(x.shape[1] // 8)), x),  # type: ignore[misc]
    "the larger one": lambda x: x * max(x.shape[1], 24),
}


@pytest.mark.parametrize("name", THRESHOLDS)
def test_a_width_that_the_code_decides_by_stays_whole(name: str) -> None:
    net = elasticise(seeded(lambda: Between(THRESHOLDS[name], wide=32)), (2, 6))
    assert len(net.space) == 0


HARMLESS: dict[str, Callable[[Tensor], Tensor]] = {
    "halves": lambda x: x[:, : x.size(1) // 2].repeat(1, 2) * x,
    "a shape check": lambda x: x.relu() if x.shape[0] == 2 and x.shape[1] == x.shape[-1] else x,
    "a reshape": lambda x: x.view(*x.shape[:1], x.shape[1] // 4, 4).relu().flatten(1),
    "a scale": lambda x: x.relu() if x.shape[1] > 3 else x,
}


@pytest.mark.parametrize("name", HARMLESS)
def test_sizes_that_decide_nothing_stay_elastic(name: str) -> None:
    net = elasticise(seeded(lambda: Between(HARMLESS[name], wide=32)), (2, 6))
    assert net.space.log10_size > 0
    x = images(2, 6)
    for seed in range(3):
        arch = net.space.sample(Random(seed))
        torch.testing.assert_close(net(x, arch), net.extract(arch)(x), rtol=0, atol=0)


def test_a_size_counts_as_the_integer_it_is() -> None:
    three = Size(3)
    assert (three + 1, 2 * three, -three, three**2, 7 // three, three / 2) == (4, 6, -3, 9, 2, 1.5)
    assert {three: "three"}[3] == "three"
    assert torch.zeros(three, Size(2)).shape == (3, 2)
    assert sorted([three, 1]) == [1, 3]


def test_comparisons_of_sizes_are_written_down_with_their_place() -> None:
    x = torch.zeros(2, 3)
    with watching(double=False) as watched:
        found = x.shape[1] * 2 > 5 and x.size() != (2, 4) and bool(x.shape[0] % 2 == 0)
    assert found
    (first, *_, last) = watched.questions
    assert (first.how, first.left, first.right, first.roots, first.answer) == ("gt", 6, 5, (), True)
    assert (last.left, last.right, last.roots) == (0, 0, (2,))
    assert first.where.startswith("test_watching.py:")
