"""From losses to moved weights: gradients add up over the lessons of a step, then the optimiser moves once."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from supernet.checkpoint import below, optimizer_tensors, restore_optimizer
from supernet.options import TrainOptions
from supernet.recipe import Schedules, optimizer_of

_OPTIMIZER = "optimizer/"


class Stepper:
    """The optimiser of one training, its schedule, and whatever happens between a loss and a moved weight.

    Args:
        network: whose weights move.
        options: the recipe.
        epoch_steps: optimiser steps of an epoch.

    Raises:
        ConfigError: for an unknown optimiser or schedule.
    """

    def __init__(self, network: nn.Module, options: TrainOptions, epoch_steps: int) -> None:
        self.network = network
        self.optimizer = optimizer_of(network, options)
        self.schedule = Schedules(self.optimizer, options, epoch_steps)

    @property
    def lr(self) -> float:
        """Learning rate of the step that was begun last."""
        return float(self.optimizer.param_groups[0]["lr"])

    def begin(self, step: int, rate: float = 1.0) -> None:
        """Forget the gradients of the step before; the learning rate is now that of this one, times ``rate``."""
        self.schedule.step_update(step)
        for group in self.optimizer.param_groups:
            group["lr"] *= rate
        self.optimizer.zero_grad()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def step(self) -> None:
        """Move the weights that have a gradient; those of blocks that no lesson used stay as they are."""
        self.optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        """What has to be kept to go on, beside the network."""
        kept = optimizer_tensors(self.network, self.optimizer)
        return {f"{_OPTIMIZER}{name}": tensor for name, tensor in kept.items()}

    def beside(self) -> list[tuple[str, Tensor]]:
        """What is kept of each parameter, by its name: it has to move when the entries of that are put elsewhere."""
        return [(key.partition("/")[2].partition(":")[0], kept) for key, kept in self.tensors().items()]

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave, and from nothing else; others are ignored."""
        self.optimizer.state.clear()
        restore_optimizer(self.network, self.optimizer, below(_OPTIMIZER, tensors))
