"""What one subnet of a training is worth on a batch, seen without anything moving; and what a lesson leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from supernet.elastic.supernet import Supernet
from supernet.ranks import ALONE, Ranks
from supernet.space import Architecture
from supernet.tasks.task import Batch, Task


@dataclass(frozen=True)
class Probe:
    """Looks at subnets in training mode; weights, gradients, statistics and global randomness stay as they are.

    Args:
        supernet: whose subnets.
        task: says what a loss is.
        pieces: of the batch that they answer to, those of this process, each with its share of the batch.
        answer: runs one architecture on one of them.
        seed: of what layers draw, the same for every architecture.
        ranks: the processes that have the rest of the batch.
    """

    supernet: Supernet
    task: Task
    pieces: Sequence[tuple[Batch, float]]
    answer: Callable[[Architecture, Batch], Any]
    seed: int
    ranks: Ranks = ALONE

    @torch.no_grad()
    def loss(self, arch: Architecture) -> float:
        """From the targets, without smoothing or dropout."""
        return self.ranks.totals([sum(self._loss(arch, *piece).item() for piece in self.pieces)])[0]

    def saliency(self, arch: Architecture) -> float:
        """The sum over its weights of the magnitude of weight times gradient (SNIP, arXiv:1810.02340)."""
        weights = [weight for weight in self.supernet.parameters() if weight.requires_grad]
        found = [
            (weight.detach() * slope).abs().sum()
            for weight, slope in zip(weights, self._slopes(arch, weights))
            if slope is not None
        ]
        return float(torch.stack(found).sum()) if found else 0.0

    def gradient(self, arch: Architecture) -> Tensor:
        """Of the loss, by all weights of the supernet in one row, zero for those the architecture does not use."""
        weights = [weight for weight in self.supernet.parameters() if weight.requires_grad]
        slopes = self._slopes(arch, weights)
        return torch.cat(
            [torch.zeros_like(w).flatten() if s is None else s.flatten() for w, s in zip(weights, slopes)]
        )

    def _slopes(self, arch: Architecture, weights: Sequence[Tensor]) -> list[Tensor | None]:
        """Gradients of the loss on the whole batch; none for weights that the architecture does not use."""
        pieces = [
            torch.autograd.grad(self._loss(arch, *piece), weights, allow_unused=True) for piece in self.pieces
        ]
        slopes = [None if some[0] is None else torch.stack(some).sum(0) for some in zip(*pieces)]
        self.ranks.add_up([slope for slope in slopes if slope is not None])
        return slopes

    def _loss(self, arch: Architecture, piece: Batch, share: float) -> Tensor:
        with torch.random.fork_rng(), fixed_buffers(self.supernet), without_dropout(self.supernet):
            torch.manual_seed(self.seed)
            return self.task.loss(self.answer(arch, piece), piece) * share


@contextmanager
def fixed_buffers(network: nn.Module) -> Iterator[None]:
    """Running statistics, and whatever else is a buffer, are afterwards what they were."""
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                # what autograd saved of a statistic is of no use to it: the change need not be counted
                buffer.data.copy_(value)


@contextmanager
def without_dropout(network: nn.Module) -> Iterator[None]:
    """No dropout and no stochastic depth, by PyTorch's names and timm's."""
    kept = [
        (module, name, rate)
        for module in network.modules()
        for name in ("p", "drop_prob", "drop_rate")
        if isinstance(rate := getattr(module, name, None), float) and rate > 0
        if name != "p" or isinstance(module, nn.modules.dropout._DropoutNd)
    ]
    try:
        for module, name, _ in kept:
            setattr(module, name, 0.0)
        yield
    finally:
        for module, name, rate in kept:
            setattr(module, name, rate)
