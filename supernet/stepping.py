"""From losses to moved weights: gradients add up over the lessons of a step, then the optimiser moves once.

Autocast and its scaler, the sum over processes, clipping and the moving average of the weights lie between
the two, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from supernet.checkpoint import below, optimizer_tensors, restore_optimizer
from supernet.options import TrainOptions
from supernet.partial_channels import PartialChannels
from supernet.ranks import ALONE, Ranks
from supernet.recipe import Schedules, optimizer_of

_OPTIMIZER, _SCALER, _AVERAGE = "optimizer/", "scaler/", "average/"
_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Stepper:
    """The optimiser of one training, its schedule, and whatever happens between a loss and a moved weight.

    Args:
        network: whose weights move.
        options: the recipe.
        epoch_steps: optimiser steps of an epoch.
        ranks: the processes whose gradients are added up.

    Raises:
        ConfigError: for an unknown optimiser or schedule.
    """

    def __init__(
        self, network: nn.Module, options: TrainOptions, epoch_steps: int, ranks: Ranks = ALONE
    ) -> None:
        self.network, self.options, self.ranks = network, options, ranks
        largest, plan = getattr(network, "largest", network), getattr(network, "plan", None)
        self.partial = PartialChannels(largest, options.partial_channels, options.seed, plan)
        with self.partial.compact():
            self.optimizer = optimizer_of(network, options)
        self.schedule = Schedules(self.optimizer, options, epoch_steps)
        self._weights = list(network.parameters())
        self._device = self._weights[0].device
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=options.amp == "fp16")
        self._average: dict[str, Tensor] = {}
        self._begun = 0

    @property
    def lr(self) -> float:
        """Learning rate of the step that was begun last."""
        group = self.optimizer.param_groups[0]
        return float(group["lr"] / group.get("lr_scale", 1.0))

    def autocast(self) -> AbstractContextManager[Any]:
        """Where networks answer and losses are taken, in the precision of the recipe."""
        if self.options.amp == "none":
            return nullcontext()
        return torch.autocast(self._device.type, _PRECISIONS[self.options.amp])

    def begin(self, step: int, rate: float = 1.0) -> None:
        """Forget the gradients of the step before; the learning rate is now that of this one, times ``rate``."""
        if self.options.ema and not self._average:
            self._average = {name: value.clone() for name, value in self.network.state_dict().items()}
        self._begun = step
        self.schedule.step_update(step)
        for group in self.optimizer.param_groups:
            group["lr"] *= rate
        self.optimizer.zero_grad()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self) -> None:
        """Move the weights that have a gradient; those of blocks that no lesson used stay as they are."""
        with self.partial.compact():
            self._move()
        self._follow()

    def _move(self) -> None:
        moving = [parameter for parameter in self._weights if parameter.grad is not None]
        self.ranks.add_up([parameter.grad for parameter in moving if parameter.grad is not None])
        self._scaler.unscale_(self.optimizer)
        if self.options.clip_norm:
            nn.utils.clip_grad_norm_(moving, self.options.clip_norm)
        if self.options.clip_value:
            nn.utils.clip_grad_value_(moving, self.options.clip_value)
        self._scaler.step(self.optimizer)
        self._scaler.update()

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights: at first in larger steps, so that it forgets the initial ones."""
        if not self._average:
            return
        share = 1 - min(self.options.ema, (1 + self._begun) / (10 + self._begun))
        now = self.network.state_dict()
        floats = {name: value for name, value in self._average.items() if value.is_floating_point()}
        torch._foreach_lerp_([*floats.values()], [now[name] for name in floats], share)
        for name, value in self._average.items():
            if name not in floats:
                value.copy_(now[name])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Meanwhile the network has its averaged weights, where the recipe keeps an average."""
        kept = {name: self.network.state_dict()[name].clone() for name in self._average}
        self.settle()
        try:
            yield
        finally:
            _put(self.network, kept)

    def settle(self) -> None:
        """Give the network its averaged weights for good, where the recipe keeps an average."""
        _put(self.network, self._average)

    def tensors(self) -> dict[str, Tensor]:
        """What has to be kept to go on, beside the network."""
        optimizer = optimizer_tensors(self.network, self.optimizer)
        scaler = {name: torch.tensor(value) for name, value in self._scaler.state_dict().items()}
        kept = {_OPTIMIZER: optimizer, _SCALER: scaler, _AVERAGE: self._average}
        return {f"{prefix}{name}": value for prefix, some in kept.items() for name, value in some.items()}

    def beside(self) -> list[tuple[str, Tensor]]:
        """What is kept of each parameter, by its name: it has to move when the entries of that are put elsewhere."""
        return [
            (name, kept)
            for key, kept in self.tensors().items()
            if (name := key.partition("/")[2].partition(":")[0]) in self.network.state_dict()
        ]

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave, and from nothing else; others are ignored."""
        with self.partial.compact():
            restore_optimizer(self.network, self.optimizer, below(_OPTIMIZER, tensors))
        if scaler := below(_SCALER, tensors):
            self._scaler.load_state_dict({name: value.item() for name, value in scaler.items()})
        now = self.network.state_dict()
        self._average = {
            name: torch.empty_like(now[name]).copy_(value) for name, value in below(_AVERAGE, tensors).items()
        }


@torch.no_grad()
def _put(network: nn.Module, values: Mapping[str, Tensor]) -> None:
    there = network.state_dict()
    for name, value in values.items():
        there[name].copy_(value)
