"""Partial channels inside reversible branches: a K-th of a stream goes through a branch, the rest is left alone.

In PC-DARTS (arXiv:1907.05737) what does not go through an edge passes by it, and channels are shuffled after. A stream
of a reversible stage passes by on its own, so beside the working channels the branch answers with zeros; returning
them would count them twice. And the shuffle is a fixed permutation of every stream after every block, undone when the
stage is: no stream has to be moved for it, it is enough that block n works on the channels which n shuffles would have
brought to the front. What comes out is what shuffling gives, in the order of before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from supernet.errors import SpaceError


class PartialBranch(nn.Module):
    """A branch on some channels of the streams it reads, zero on the others.

    Args:
        branch: on ``channels / share`` channels.
        channels: of a stream.
        share: K.
        turn: how many shuffles came before.

    Raises:
        SpaceError: when the channels can not be shared out.
    """

    places: Tensor

    def __init__(self, branch: nn.Module, channels: int, share: int, turn: int = 0) -> None:
        super().__init__()
        self.branch = branch
        places = shuffled(channels, share, turn)[: channels // share]
        self.register_buffer("places", places, persistent=False)

    def forward(self, *given: Any) -> Tensor:
        """The branch's answer where its channels lie, ``(batch, channels, ...)``.

        Args:
            *given: the streams it reads, all of one shape, then what else the branch takes.
        """
        shape = given[0].shape
        parts = (
            one.index_select(1, self.places) if isinstance(one, Tensor) and one.shape == shape else one
            for one in given
        )
        out: Tensor = self.branch(*parts)
        return out.new_zeros(shape).index_copy(1, self.places, out)


def partial_blocks(
    blocks: Sequence[Sequence[nn.Module | None]], channels: int, share: int
) -> list[list[PartialBranch | None]]:
    """Blocks for `ReversibleStage.of` from those that work on a K-th of the channels.

    Args:
        blocks: per block a branch for every stream, on ``channels / share`` channels.
        channels: of a stream.
        share: K.

    Raises:
        SpaceError: when the channels can not be shared out.
    """
    return [
        [None if branch is None else PartialBranch(branch, channels, share, turn) for branch in block]
        for turn, block in enumerate(blocks)
    ]


def shuffled(channels: int, share: int, times: int = 1) -> Tensor:
    """Which channel lies where after some shuffles: ``x[:, shuffled(...)]`` is ``x`` shuffled.

    A shuffle takes channels from each of ``share`` equal groups in turn.

    Raises:
        SpaceError: when the channels can not be shared out.
    """
    if share < 1 or channels % share:
        near = channels - channels % max(share, 1)
        raise SpaceError(
            f"share is {share} and a stream has {channels} channels; share must divide them"
            + (f", e.g. {near} channels" if near else "")
        )
    once = torch.arange(channels).view(share, -1).t().flatten()
    order = torch.arange(channels)
    for _ in range(times):
        order = order[once]
    return order
