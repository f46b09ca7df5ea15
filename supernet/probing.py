"""What one subnet of a training is worth on a batch, seen without anything moving; and what a lesson leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from supernet.elastic.supernet import Supernet
from supernet.space import Architecture
from supernet.tasks.task import Batch, Task


@dataclass(frozen=True)
class Probe:
    """Looks at subnets in training mode; weights, gradients, statistics and global randomness stay as they are.

    Args:
        supernet: whose subnets.
        task: says what a loss is.
        batch: that they answer to.
        answer: runs one architecture on it.
        seed: of what layers draw, the same for every architecture.
    """

    supernet: Supernet
    task: Task
    batch: Batch
    answer: Callable[[Architecture, Batch], Any]
    seed: int

    @torch.no_grad()
    def loss(self, arch: Architecture) -> float:
        """From the targets, without smoothing or dropout."""
        return self._loss(arch).item()

    def saliency(self, arch: Architecture) -> float:
        """The sum over its weights of the magnitude of weight times gradient (SNIP, arXiv:1810.02340)."""
        weights = [weight for weight in self.supernet.parameters() if weight.requires_grad]
        slopes = torch.autograd.grad(self._loss(arch), weights, allow_unused=True)
        found = [
            (weight.detach() * slope).abs().sum()
            for weight, slope in zip(weights, slopes)
            if slope is not None
        ]
        return float(torch.stack(found).sum()) if found else 0.0

    def gradient(self, arch: Architecture) -> Tensor:
        """Of the loss, by all weights of the supernet in one row, zero for those the architecture does not use."""
        weights = [weight for weight in self.supernet.parameters() if weight.requires_grad]
        slopes = torch.autograd.grad(self._loss(arch), weights, materialize_grads=True, allow_unused=True)
        return torch.cat([slope.flatten() for slope in slopes])

    def _loss(self, arch: Architecture) -> Tensor:
        with torch.random.fork_rng(), fixed_buffers(self.supernet), without_dropout(self.supernet):
            torch.manual_seed(self.seed)
            return self.task.loss(self.answer(arch, self.batch), self.batch)


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
