"""GOLD-NAS (Bi et al., arXiv:2007.03331): candidates are pruned one after the other, under a growing penalty on cost.

Weights and logits learn from the same batches. Every candidate has a gate of its own, the sigmoid of its logit; the
expected cost is part of the loss, and its factor grows from epoch to epoch as long as little is pruned. So one run
passes through ever cheaper networks, each a part of the one before.

What differs from the paper: a choice keeps its last candidate, because an architecture of the space has one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from supernet.differentiable.method import Logits, Memory, Method, methods, weighed
from supernet.elastic.relaxation import Relaxable, Relaxation, is_set
from supernet.errors import ConfigError
from supernet.space import Architecture

PRUNED = -1e4
"""A logit whose gate is exactly zero, and stays it however many steps its decay moves it."""


@methods.register("gold_nas")
@dataclass(frozen=True)
class GOLDNASMethod(Method):
    """Gates that close under a growing penalty.

    Args:
        start: what the factor of the expected cost grows by at first; the cost is a share of the largest one's.
        growth: times which it grows by more after an epoch that pruned fewer than ``most``.
        sure: gates below are pruned, however many they are.
        unsure: gates below may be pruned, the smallest first.
        most: candidates that are pruned in an epoch beside the sure ones.

    Raises:
        ConfigError: for numbers that are no thresholds, or would not grow.
    """

    start: float = 0.01
    growth: float = 2.0
    sure: float = 0.01
    unsure: float = 0.05
    most: int = 4
    one_level: ClassVar[bool] = True
    costs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.sure <= self.unsure < 1:
            raise ConfigError(
                f"sure is {self.sure} and unsure {self.unsure}; gates lie between 0 and 1, so they have to be like "
                "0.01 and 0.05"
            )
        if self.start <= 0 or self.growth < 1 or self.most < 1:
            raise ConfigError(
                f"start is {self.start}, growth {self.growth} and most {self.most}; they have to be above 0, at least "
                "1 and at least 1"
            )

    def relaxation(self, relaxable: Relaxable, logits: Logits, arch: Architecture) -> Relaxation:
        """All candidates that are left, each by its gate."""
        return weighed(relaxable, logits, arch, torch.sigmoid, torch.ones_like, only_active=True)

    mean = relaxation

    def burden(self, cost: Tensor, memory: Memory) -> Tensor:
        """The expected cost times the factor reached so far."""
        return cost * float(memory.get("factor", 0.0))

    def after_epoch(self, relaxable: Relaxable, logits: Logits, memory: Memory) -> Memory:
        """Prune, and let the factor grow.

        Returns:
            The ``factor``, what it grew by last (``growth``), and under ``left`` the candidates that were left after
            every pruning, by choice and position.
        """
        pruned = self.prune(relaxable, logits)
        grew = self.start
        if pruned < self.most:
            grew = float(memory.get("growth", self.start / self.growth)) * self.growth
        left = [*memory.get("left", [])]
        if pruned or not left:
            left.append(survivors(relaxable, logits))
        return {"factor": float(memory.get("factor", 0.0)) + grew, "growth": grew, "left": left}

    @torch.no_grad()
    def prune(self, relaxable: Relaxable, logits: Logits) -> int:
        """Close the smallest gates for good, in place; how many."""
        left = survivors(relaxable, logits)
        weak = sorted(
            (gate, name, i)
            for name, places in left.items()
            for i in places
            if (gate := float(gates(relaxable, logits, name)[i])) < self.unsure
        )
        count = unsure = 0
        for gate, name, i in weak:
            if len(left[name]) == 1 or (gate >= self.sure and unsure == self.most):
                continue
            gates(relaxable, logits, name, raw=True)[i] = PRUNED
            left[name].remove(i)
            count, unsure = count + 1, unsure + (gate >= self.sure)
        return count


def gates(relaxable: Relaxable, logits: Logits, name: str, *, raw: bool = False) -> Tensor:
    """The gates of the candidates of a choice, or a view of their logits: without the one of ``none``."""
    own = logits[name].detach()[int(relaxable.parent(name) is not None) :]
    return own if raw else own.sigmoid()


def survivors(relaxable: Relaxable, logits: Logits) -> dict[str, list[int]]:
    """Which candidates of each choice are not pruned."""
    return {
        name: torch.nonzero(gates(relaxable, logits, name)).flatten().tolist()
        for name in logits
        if not is_set(relaxable.space[name])
    }
