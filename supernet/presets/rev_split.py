"""A transformer whose state is split in several parts, each updated in turn from all the others.

Multi-split reversible networks (memory-efficient differentiable transformer search, Zhao et al., arXiv:2105.14669):
``y_k = x_k + F_k(parts already updated, parts not yet)``. Parts take attention and MLPs alternately.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.elastic.plan import Plan
from supernet.errors import SpaceError
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import OwnReference, PlannedPreset, from_count, need_blocks, presets
from supernet.presets.rev_vit import MeanToken, Patches
from supernet.presets.two_streams import TwoStreams, layers
from supernet.reversible import ReversibleStage
from supernet.space import Choice, SearchSpace


class OthersAttention(nn.Module):
    """Attention over all other parts, answered in the width of one."""

    def __init__(self, into: int, out: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.norm = nn.LayerNorm(into)
        self.qkv = nn.Linear(into, 3 * heads * head_dim)
        self.proj = nn.Linear(heads * head_dim, out)

    def forward(self, *others: Tensor) -> Tensor:
        """Parts ``(batch, tokens, width)`` to one of them."""
        x = self.norm(torch.cat(others, -1))
        q, k, v = self.qkv(x).unflatten(-1, (3, -1, self.head_dim)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class OthersMLP(nn.Module):
    """An MLP over all other parts, answered in the width of one."""

    def __init__(self, into: int, hidden: int, out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(into)
        self.fc1, self.act, self.fc2 = nn.Linear(into, hidden), nn.GELU(), nn.Linear(hidden, out)

    def forward(self, *others: Tensor) -> Tensor:
        """Parts ``(batch, tokens, width)`` to one of them."""
        out: Tensor = self.fc2(self.act(self.fc1(self.norm(torch.cat(others, -1)))))
        return out


@presets.register("rev_split")
@dataclass(frozen=True)
class RevSplit(OwnReference, PlannedPreset):
    """Per part of a block heads or a hidden width, a depth in whole blocks.

    Args:
        classes: of the classifier.
        width: of all parts together.
        parts: how many; at least two.
        depths: blocks.
        head_counts: of an attention.
        head_dim: channels of a head.
        hiddens: hidden widths of an MLP.
        patch: pixels per side.
        fixed_point: streams that are undone to the last bit.

    Raises:
        SpaceError: when the width cannot be split evenly.
    """

    classes: int = 1000
    width: int = 384
    parts: int = 4
    depths: tuple[int, ...] = (5, 6)
    head_counts: tuple[int, ...] = (2, 3, 4)
    head_dim: int = 32
    hiddens: tuple[int, ...] = (192, 384, 576)
    patch: int = 16
    fixed_point: bool = False

    def __post_init__(self) -> None:
        need_blocks("depths", self.depths)
        if self.parts < 2 or self.width % self.parts:
            raise SpaceError(
                f"a width of {self.width} cannot be split in {self.parts} parts alike; take at least two parts and a "
                f"multiple of them, e.g. {max(self.parts, 2) * max(1, self.width // max(self.parts, 2))}"
            )

    @cached_property
    def space(self) -> SearchSpace:
        """The depth, and what each part of a block has, which matters when its block is there."""
        choices = [Choice("depth", self.depths)]
        for j in range(self.depths[-1]):
            needs = from_count("depth", self.depths, j)
            for k in range(self.parts):
                kind, values = ("hidden", self.hiddens) if k % 2 else ("heads", self.head_counts)
                choices.append(Choice(f"blocks.{j}.{k}.{kind}", values, needs))
        return SearchSpace(tuple(choices))

    def _branches(self) -> Iterator[nn.Module]:
        own = self.width // self.parts
        for k in range(self.parts):
            if k % 2:
                yield OthersMLP(self.width - own, self.hiddens[-1], own)
            else:
                yield OthersAttention(self.width - own, own, self.head_counts[-1], self.head_dim)

    def network(self) -> nn.Module:
        """The largest network, freshly initialised."""
        blocks = [list(self._branches()) for _ in range(self.depths[-1])]
        tokens = (self.resolution // self.patch) ** 2
        return TwoStreams(
            Patches(self.channels, self.width, self.patch, tokens),
            [nn.Identity()],
            [ReversibleStage.of(blocks, fixed_point=self.fixed_point)],
            layers(norm=nn.LayerNorm(self.width), pool=MeanToken(), head=nn.Linear(self.width, self.classes)),
            axis=-1,
        )

    def plan(self, network: nn.Module) -> Plan:
        """Heads, hidden widths, and blocks that are left out whole."""
        wiring = PlanBuilder(network, self.space)
        for i in range(self.parts * self.depths[-1]):
            j, k = divmod(i, self.parts)
            path, name = f"stages.0.couplings.{i}", f"blocks.{j}.{k}"
            if k % 2:
                hidden = wiring.dim(f"{name}.hidden", [f"{name}.hidden"], int, "hidden")
                wiring.layer(f"{path}.branch.fc1", hidden)
                wiring.layer(f"{path}.branch.fc2", None, hidden)
            else:
                heads = wiring.dim(f"{name}.heads", [f"{name}.heads"], int, "heads")
                wiring.layer(f"{path}.branch.qkv", ((3, heads, self.head_dim),))
                wiring.layer(f"{path}.branch.proj", None, ((heads, self.head_dim),))
            if j >= self.depths[0]:
                wiring.switch(path, f"{name}.present", ["depth"], partial(int.__lt__, j))
        return wiring.plan()
