"""Optimiser and schedule of a training, by timm's names, and the device it runs on."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import nn

from supernet.errors import ConfigError, did_you_mean
from supernet.options import TrainOptions

SCHEDULES = ("cosine", "tanh", "poly", "constant")


def optimizer_of(network: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """The optimiser of a recipe; norms and biases are not decayed. ``sgd`` is with Nesterov momentum.

    Raises:
        ConfigError: for a name timm does not know.
    """
    if options.optimizer not in list_optimizers():
        hint = did_you_mean(options.optimizer, list_optimizers()).partition(" (")[0]
        raise ConfigError(
            f"timm has no optimiser {options.optimizer!r}{hint} (supernet settings train.optimizer lists them all)"
        )
    # Nesterov needs some momentum; timm calls stochastic gradient descent without it "momentum".
    name = "momentum" if options.optimizer == "sgd" and options.momentum == 0 else options.optimizer
    layers: dict[str, Any] = {}
    if options.layer_decay < 1:  # timm asks the network which layer a parameter belongs to
        network, layers = getattr(network, "largest", network), {"layer_decay": options.layer_decay}
    found: torch.optim.Optimizer = create_optimizer_v2(
        network, name, lr=options.lr, weight_decay=options.weight_decay, momentum=options.momentum, **layers
    )
    return found


def schedule_of(optimizer: torch.optim.Optimizer, options: TrainOptions, steps: int) -> Scheduler:
    """The learning rate at every step: a linear warm-up from a hundredth, then down to zero.

    Raises:
        ConfigError: for an unknown name.
    """
    if options.schedule not in SCHEDULES:
        raise ConfigError(
            f"no schedule is called {options.schedule!r}{did_you_mean(options.schedule, SCHEDULES)}"
        )
    if options.schedule == "constant" or steps == 1:  # a decay that never comes
        found, _ = create_scheduler_v2(
            optimizer, "step", num_epochs=steps, decay_epochs=steps + 1, warmup_epochs=round(options.warmup * steps),
            warmup_lr=options.lr * 0.01, step_on_epochs=False, updates_per_epoch=1,
        )  # fmt: skip
        return found
    found, _ = create_scheduler_v2(
        optimizer, options.schedule, num_epochs=steps, warmup_epochs=round(options.warmup * steps),
        warmup_lr=options.lr * 0.01, step_on_epochs=False, updates_per_epoch=1,
        decay_rate=1.0,  # the power of ``poly``: a straight line to zero
    )  # fmt: skip
    return found


class Schedules:
    """The learning rate of a whole training: a schedule for each stretch between two restarts.

    Each is what a training of those epochs alone would have, so a training that is made longer begins as the
    shorter one did.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, options: TrainOptions, epoch_steps: int) -> None:
        self.lengths = [epochs * epoch_steps for epochs in options.stretches]
        self._schedules = [schedule_of(optimizer, options, steps) for steps in self.lengths]

    def at(self, step: int) -> tuple[int, int, int]:
        """Which stretch a step belongs to, how many steps of it are done, and how many it has."""
        number, done = 0, step
        while number < len(self.lengths) - 1 and done >= self.lengths[number]:
            done -= self.lengths[number]
            number += 1
        return number, done, self.lengths[number]

    def ends(self, step: int) -> bool:
        """Whether a stretch is over after so many steps."""
        return step in accumulate(self.lengths)

    def step_update(self, step: int) -> None:
        """Set the learning rate of a step."""
        number, done, _ = self.at(step)
        self._schedules[number].step_update(done)


def device_of(options: TrainOptions) -> torch.device:
    """Where to train, when this machine can.

    Raises:
        ConfigError: for a device that PyTorch does not know or this machine does not have.
    """
    try:
        found = torch.device(options.device)
    except RuntimeError as error:
        raise _unusable(options.device, "PyTorch knows no such device") from error
    try:
        torch.zeros(1, device=found).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # the first sentence: what follows goes on for a page
        reason = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
        raise _unusable(options.device, reason) from error
    return found


def _unusable(device: str, reason: str) -> ConfigError:
    there = devices()
    verb = "is" if len(there) == 1 else "are"
    return ConfigError(
        f"train.device is {device!r}, which cannot be used here: {reason}; there {verb} {', '.join(there)}"
    )


def devices() -> list[str]:
    """What this machine can train on, as torch names it."""
    kind = torch.accelerator.current_accelerator(check_available=True)
    if kind is None:
        return ["cpu"]
    return ["cpu", *(f"{kind.type}:{i}" for i in range(torch.accelerator.device_count()))]
