"""Modules whose children are alternatives: one of them runs, the sum of several, or a mixture of all.

They read which children are there off the children's own presence, as everything in a supernet does.
Outside a supernet all are there, so that tracing the largest network meets every candidate. A
`supernet.elastic.relaxation.Relaxation` gives the copy that is bound for a call a weight for every child,
in the buffer ``mixture``; the shared network never has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from supernet.elastic.mixing import Mixture, Part, call, mixed, picked
from supernet.elastic.slicing import MIXTURE, STOPS, is_there


class Sum(nn.Sequential):
    """The sum of the children that are there; the input when none is."""

    def __init__(self, *children: nn.Module) -> None:
        super().__init__(*children)
        self.register_buffer(MIXTURE, None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The answers of the children that are there, added, each by its weight where it has one."""
        weights = self._buffers.get(MIXTURE)
        if weights is not None:
            return mixed(weights, self.parts(x))
        there = [child for child in self if is_there(child)]
        if not there:
            return x
        out: Tensor = there[0](x)
        for child in there[1:]:
            out = out + child(x)
        return out

    def parts(self, x: Tensor) -> list[Part]:
        """What a mixture of the children is made of, one part for each weight: the input itself may be the last."""
        parts: list[Part] = [(child, x) for child in self]
        weights = self._buffers.get(MIXTURE)
        return parts if weights is None or len(weights) == len(parts) else [*parts, (nn.Identity(), x)]


class OneOf(Sum):
    """Candidates of which an architecture keeps one, or none; cut out, a plain sequence of that one."""

    plain: ClassVar[type[nn.Module]] = nn.Sequential


class Depths(nn.Sequential):
    """Blocks of one shape of which an architecture runs the first few, or a mixture of what they end in.

    A relaxed depth sums what there is after each number of blocks by its weight (TAS, arXiv:1905.09717).
    """

    plain: ClassVar[type[nn.Module]] = nn.Sequential

    def __init__(self, *children: nn.Module) -> None:
        super().__init__(*children)
        self.register_buffer(STOPS, None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """What the last block that is there answers, or the sum over depths."""
        weights, states = self._buffers.get(STOPS), [x]
        there = [0]
        for i, child in enumerate(self, 1):
            if is_there(child):
                states.append(child(states[-1]))
                there.append(i)
        return states[-1] if weights is None else call(Mixture, picked(weights, there), *states)


class Node(nn.Sequential):
    """A node of a cell: the sum over edges that come from the states before it, ``from_0``, ``from_1``, ...

    With ``share`` K only the first K-th of each state's channels goes through the edge, the rest passes by; the two
    are interleaved, so that the next node works on others (PC-DARTS' partial channels and channel shuffle,
    arXiv:1907.05737). Sums come before the interleaving, which is therefore done once for a node and not
    for every edge.

    Args:
        edges: one for each state before it.
        share: K.
    """

    def __init__(self, edges: Sequence[nn.Module], share: int = 1) -> None:
        super().__init__()
        for i, edge in enumerate(edges):
            self.add_module(f"from_{i}", edge)
        self.share = share
        self.register_buffer(MIXTURE, None, persistent=False)

    def forward(self, worked: Sequence[Tensor], passed: Sequence[Tensor]) -> Tensor:  # type: ignore[override]
        """The next state.

        Args:
            worked: of every state before it, the channels that go through edges.
            passed: the channels that pass by, at the node's own size; nothing when ``share`` is 1.

        Returns:
            ``(batch, channels, height, width)``.
        """
        places = [int(name.removeprefix("from_")) for name in self._modules]
        edges = [(i, edge) for i, edge in zip(places, self) if is_there(edge)]
        out = self._through(edges, worked)
        if self.share == 1:
            return out
        weights = self._buffers.get(MIXTURE)
        if weights is None:
            by = sum_of([passed[i] for i, _ in edges])
        else:
            by = mixed(weights, [(nn.Identity(), passed[i]) for i in places])
        return interleaved((out, *by.chunk(self.share - 1, 1)))

    def _through(self, edges: Sequence[tuple[int, nn.Module]], states: Sequence[Tensor]) -> Tensor:
        """What comes through the edges: one mixture of all candidates of all edges, where they have weights."""
        weights = self._buffers.get(MIXTURE)
        if weights is None:
            return sum_of([edge(states[i]) for i, edge in edges])
        parts: list[Part] = []
        shares: list[Tensor] = []
        for i, edge in edges:
            own = edge._buffers.get(MIXTURE)
            if isinstance(edge, Sum) and own is not None:
                parts += edge.parts(states[i])
                shares.append(weights[i] * own)
            else:
                parts.append((edge, states[i]))
                shares.append(weights[i : i + 1])
        return mixed(torch.cat(shares), parts)


def interleaved(groups: Sequence[Tensor]) -> Tensor:
    """Channels taken from each group in turn, written to their place at once.

    Args:
        groups: of one shape, ``(batch, channels, height, width)``.

    Returns:
        ``(batch, groups * channels, height, width)``, channels last where the groups are.
    """
    if groups[0].stride(1) < groups[0].stride(3):
        return torch.stack([group.permute(0, 2, 3, 1) for group in groups], 4).flatten(3).permute(0, 3, 1, 2)
    return torch.stack(tuple(groups), 2).flatten(1, 2)


def sum_of(tensors: Sequence[Tensor]) -> Tensor:
    """Their sum, without a zero to begin with."""
    out = tensors[0]
    for tensor in tensors[1:]:
        out = out + tensor
    return out
