"""The integers that have to follow are found with few comparisons."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from supernet.elastic.following import Following
from supernet.elastic.plan import SizeAttribute
from supernet.elastic.trace import trace
from supernet.elastic.verify import Check
from tests.supernet.elastic.nets import Attention, Tokens, images, seeded


class Deep(nn.Module):
    """Ten blocks of attention whose heads and width are integers of their own."""

    def __init__(self, attn_dim: int | None) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.blocks = nn.Sequential(*(Attention(attn_dim=attn_dim) for _ in range(10)))
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.embed(x)).mean(1))


def search(model: nn.Module) -> tuple[Following, list[int]]:
    """A search in which every live group is cut to half, and how many groups each comparison was about."""
    traced = trace(model, images(2, 5, 6))
    names = [name for name, group in traced.groups.items() if group.fixed is None]
    check = Check(model, traced, images(2, 5, 6))
    cut = {name: max(1, traced.groups[name].size // 2) for name in names}
    compared: list[int] = []

    def wrong(some: Sequence[str], follow: Sequence[SizeAttribute]) -> str | None:
        """The comparison, counted."""
        compared.append(len(some))
        return check.difference(some, cut, follow)

    def fails(some: Sequence[str], follow: Sequence[SizeAttribute]) -> str | None:
        """Whether it runs."""
        return check.fails(some, cut, follow)

    return Following(model, traced, names, fails, wrong), compared


def test_one_comparison_is_enough_where_all_can_be_cut_at_once() -> None:
    following, compared = search(seeded(lambda: Deep(attn_dim=16)))
    found = {(one.module, one.attribute) for one in following.size_attributes()}
    assert found == {(f"blocks.{i}", name) for i in range(10) for name in ("num_heads", "attn_dim")}
    assert compared == [11]


def test_sizes_that_only_move_in_proportion_are_not_taken_for_free_because_one_cut_is_proportional() -> None:
    following, _ = search(seeded(Tokens))
    assert following._together() is None
