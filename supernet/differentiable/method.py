"""What a method of differentiable search is: how logits become weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from supernet.elastic.relaxation import Relaxable, Relaxation, is_set
from supernet.registry import Registry
from supernet.space import Architecture

Logits = Mapping[str, Tensor]
"""By choice: one for each weight, and one before them for ``none`` where an edge may come to nothing."""
Cost = Callable[[Relaxation], Tensor]
"""The expected cost of a relaxation, as a share of that of the largest architecture."""
Memory = dict[str, Any]
"""What a method remembers between epochs beside its logits: plain JSON values."""


class Method(Protocol):
    """How logits become weights. Randomness is that of torch, which whoever calls has seeded.

    Inherit from it for what only some methods need: all but the first two have a default.
    """

    one_level: ClassVar[bool] = False
    """Whether logits learn from the same batches as the weights, and not from the search split."""
    costs: ClassVar[bool] = False
    """Whether it has to know what a relaxation costs."""
    about: ClassVar[str] = "one of several candidates"
    """What a choice has to be that it has logits for."""

    def relaxation(self, relaxable: Relaxable, logits: Logits, arch: Architecture) -> Relaxation:
        """What weights and logits learn with; drawn anew at every call where the method draws.

        Args:
            relaxable: of the supernet.
            logits: by choice.
            arch: what the choices are that have none.
        """
        ...

    def mean(self, relaxable: Relaxable, logits: Logits, arch: Architecture) -> Relaxation:
        """What is drawn on the average: costs are taken of it, and it leans to an architecture."""
        ...

    def penalty(self, logits: Logits) -> Tensor:
        """What is added to the loss of the logits."""
        return no_penalty(logits)

    def initial(self, relaxable: Relaxable, seed: torch.Generator) -> dict[str, Tensor]:
        """The logits at the start; of which choices says what the method is about."""
        return fresh_logits(relaxable, seed)

    def burden(self, cost: Tensor, memory: Memory) -> Tensor:
        """What an expected cost adds to the loss of the logits; of methods that have to know it."""
        return cost * 0

    def after_step(self, logits: Logits, cost: Callable[[Logits], Tensor]) -> None:
        """Change the logits in place after each of their steps; of methods that have to know costs."""

    def after_epoch(self, relaxable: Relaxable, logits: Logits, memory: Memory) -> Memory:
        """Change the logits in place after each of their epochs, and say what to remember."""
        return memory


_MODULES = (
    "darts",
    "pc_darts",
    "gdas",
    "drnas",
    "proxylessnas",
    "gold_nas",
    "rc_darts",
    "single_path_nas",
    "tas",
)
methods: Registry[Callable[..., Method]] = Registry(
    "differentiable method",
    modules=tuple(
        f"supernet.differentiable.{name}"
        for name in (
            *("darts", "pc_darts", "gdas", "drnas", "proxylessnas"),
            *("gold_nas", "rc_darts", "single_path_nas", "tas"),
        )
    ),
    group="supernet.methods",
)
"""Methods by name; each is a fixed dataclass whose fields are its options."""


def fresh_logits(relaxable: Relaxable, seed: torch.Generator, scale: float = 1e-3) -> dict[str, Tensor]:
    """Logits close to zero for every choice that can be relaxed."""
    counts = {
        name: len(members) + (relaxable.parent(name) is not None)
        for name, members in relaxable.members.items()
    }
    return {name: scale * torch.randn(count, generator=seed) for name, count in counts.items()}


def weighed(
    relaxable: Relaxable,
    logits: Logits,
    arch: Architecture,
    weigh: Callable[[Tensor], Tensor],
    sets: Callable[[Tensor], Tensor],
    *,
    only_active: bool = False,
) -> Relaxation:
    """The relaxation of logits, one choice after the other.

    Args:
        relaxable: of the supernet.
        logits: by choice.
        arch: what the choices are that have none.
        weigh: from the logits of a choice to weights; that of ``none`` is dropped.
        sets: likewise for the members of sets, the edges of a node.
        only_active: as `Relaxation` has it.
    """
    weights: dict[str, Tensor] = {}
    for name, one in logits.items():
        if is_set(relaxable.space[name]):
            weights[name] = sets(one)
        else:
            weights[name] = weigh(one)[int(relaxable.parent(name) is not None) :]
    return Relaxation(weights, arch, only_active)


def hard(soft: Tensor, drawn: Tensor | int) -> Tensor:
    """One at an entry and zero at the others, with the gradient of the soft weights."""
    place = torch.as_tensor(drawn, device=soft.device)
    one_hot = torch.zeros_like(soft).index_fill_(0, place, 1)  # an index would be waited for on a GPU
    return one_hot + (soft - soft.detach())


def no_penalty(logits: Logits) -> Tensor:
    """Zero."""
    return next(iter(logits.values())).new_zeros(())


def softmax(logits: Tensor) -> Tensor:
    """Weights that sum to one."""
    return logits.softmax(0)
