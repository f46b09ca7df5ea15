"""Groups that hold together only because a check cuts both alike."""

from __future__ import annotations

from itertools import permutations
from random import Random

import pytest
import torch
from torch import Tensor, nn

from supernet.elastic.elasticise import elasticise
from supernet.elastic.failing import apart


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 30])
def test_of_any_two_neighbours_each_is_cut_once_without_the_other(count: int) -> None:
    names = [f"group {i}" for i in range(count)]
    some = apart(names, [names])
    assert len(some) <= 7
    for one, other in permutations(names, 2):
        assert any(one in part and other not in part for part in some)


def test_groups_that_meet_nowhere_are_not_taken_apart() -> None:
    assert apart(["a", "b", "c"], [["a"], ["b"]]) == []
    assert sorted(apart(["a", "b", "c"], [["a", "b"], ["b", "c"]])) == [["a", "c"], ["b"]]


class Attention(nn.Module):
    """Gives back as many channels as came in: right only where its heads are as many as the input's."""

    def __init__(self, heads: int, head_dim: int, own_queries: bool) -> None:
        super().__init__()
        self.head_dim, self.own_queries = head_dim, own_queries
        width = heads * head_dim
        self.qkv = nn.Linear(width, 3 * width if own_queries else 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, channels = x.shape
        count = 3 if self.own_queries else 2
        parts = self.qkv(x).view(batch, tokens, count, -1, self.head_dim).permute(2, 0, 3, 1, 4)
        own = x.view(batch, tokens, -1, self.head_dim).transpose(1, 2)
        query, key, value = parts if self.own_queries else (own, *parts)
        mixed = (query @ key.transpose(-1, -2)).softmax(-1) @ value
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, channels))


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 16)
        self.blocks = nn.ModuleList([Attention(4, 4, own) for own in (True, False)])
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean(1))


def test_heads_that_have_to_be_as_many_as_those_of_the_residual_move_with_it() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 5, 6)
    net = elasticise(Blocks().eval(), (1, 5, 6))
    assert net.report().elastic_share > 0.9
    archs = [net.space.smallest(), net.space.largest(), *(net.space.sample(Random(i)) for i in range(8))]
    for arch in archs:
        torch.testing.assert_close(net.subnet(arch)(x), net.extract(arch)(x), rtol=0, atol=0)
