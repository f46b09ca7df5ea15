"""Training the shared weights: data -> lessons -> loss -> step, and nothing else.

A strategy says which subnets learn in a step; their gradients add up, then one optimiser step moves
the weights they share. Everything random comes from a generator made for its step, so a run that was
killed goes on from its last checkpoint to the same weights, bit for bit.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from timm.optim import param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from torch import Tensor

from supernet.checkpoint import optimizer_tensors, read_checkpoint, restore_optimizer, write_checkpoint
from supernet.config import decode, to_plain
from supernet.data import Dataset
from supernet.elastic.supernet import Supernet
from supernet.errors import StateError, SupernetError
from supernet.evaluate import Evaluator
from supernet.losses import lesson_loss
from supernet.options import TrainOptions
from supernet.seeds import derive, rng
from supernet.space import Architecture
from supernet.strategies import Strategy, strategies

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

log = logging.getLogger(__name__)

CHECKPOINT = "training.safetensors"
LOG = "tensorboard"
_MODEL, _OPTIMIZER = "model/", "optimizer/"
_FREE = frozenset({"checkpoint_seconds", "device", "threads"})
"""Options that a run may change when it goes on."""

Progress = Callable[[int, int, str], None]
"""Called with the steps done, the steps in all and a few words on how it goes."""


@dataclass(frozen=True)
class Epoch:
    """What was seen by the end of an epoch.

    Args:
        epoch: counted from 1.
        step: optimiser steps so far.
        lr: learning rate of the last one.
        losses: mean over the epoch for each role: largest, smallest, between.
        largest: accuracy of the largest subnet on the search split, between 0 and 1; None when it was
            not looked at.
        smallest: likewise of the smallest one.
    """

    epoch: int
    step: int
    lr: float
    losses: dict[str, float]
    largest: float | None = None
    smallest: float | None = None


class Trainer:
    """One training run, which goes on where an earlier one in the same folder stopped.

    Args:
        supernet: whose weights to train, in place.
        dataset: only its train split is learnt from; the search split is looked at after epochs.
        options: the recipe.
        folder: for the checkpoint and the TensorBoard log; None keeps nothing.
        strategy: deals out the lessons; None makes the one that the options name.

    Raises:
        SupernetError: for a strategy that is not registered.
        ConfigError: for an option that this strategy does not have.
        StateError: when the folder holds the checkpoint of another run, or a damaged one.
    """

    def __init__(
        self,
        supernet: Supernet,
        dataset: Dataset,
        options: TrainOptions | None = None,
        folder: Path | None = None,
        *,
        strategy: Strategy | None = None,
    ) -> None:
        self.options = options = options or TrainOptions()
        # Depth-wise convolutions train up to twice as fast with channels last on a CPU.
        self.supernet = supernet.to(options.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dataset = dataset
        self.folder = folder
        self.strategy = strategy or decode(
            options.strategy_options, strategies[options.strategy], "strategy_options"
        )
        self.epoch_steps = dataset.epoch_steps(options.batch_size)
        self.steps = options.epochs * self.epoch_steps
        self.optimizer = torch.optim.SGD(
            param_groups_weight_decay(supernet, options.weight_decay),
            lr=options.lr,
            momentum=options.momentum,
            nesterov=options.momentum > 0,
        )
        self.schedule = CosineLRScheduler(
            self.optimizer,
            t_initial=self.steps,
            warmup_t=round(options.warmup * self.steps),
            warmup_lr_init=options.lr * 0.01,
            t_in_epochs=False,
        )
        self.step = 0
        self.history: list[Epoch] = []
        self.losses: dict[str, list[float]] = {}
        self._roles = {supernet.space.smallest(): "smallest", supernet.space.largest(): "largest"}
        self._resume()

    def run(self, progress: Progress | None = None) -> list[Epoch]:
        """Train to the end.

        Args:
            progress: told after every step.

        Returns:
            One entry per epoch, those of an earlier run in the folder included.

        Raises:
            SupernetError: when the loss is no longer a number.
            StateError: when the folder can not be written to.
        """
        writer = self._writer() if self.step < self.steps else None
        saved = time.monotonic()
        while self.step < self.steps:
            self._learn(writer)
            if self.step % self.epoch_steps == 0:
                self._finish_epoch(writer)
            if (
                self.step % self.epoch_steps == 0
                or time.monotonic() - saved > self.options.checkpoint_seconds
            ):
                self._save()
                saved = time.monotonic()
            if progress:
                progress(self.step, self.steps, self._words())
        if writer:
            writer.close()
        self.supernet.eval().to(memory_format=torch.contiguous_format)
        return self.history

    def _learn(self, writer: SummaryWriter | None) -> None:
        """One optimiser step."""
        options = self.options
        images, labels = self.dataset.batch(self.step, options.batch_size, options.seed)
        images = images.to(options.device, memory_format=torch.channels_last)
        labels = labels.to(options.device)
        lessons = self.strategy.lessons(
            self.supernet.space, self.step, rng(options.seed, "lessons", self.step)
        )
        trust = options.distil_weight if self.step >= options.distil_after * self.steps else 0.0
        self.supernet.train()
        self.schedule.step_update(self.step)
        self.optimizer.zero_grad()
        answers: list[Tensor] = []
        losses: defaultdict[str, list[float]] = defaultdict(list)
        with torch.random.fork_rng():
            torch.manual_seed(derive(options.seed, "layers", self.step))
            for lesson in lessons:
                logits = self.supernet(images, lesson.arch)
                teacher = None if lesson.teacher is None else answers[lesson.teacher]
                loss = lesson_loss(logits, labels, teacher, trust, options.label_smoothing)
                (loss * lesson.weight).backward()  # type: ignore[no-untyped-call]
                answers.append(logits.detach())
                losses[self._role(lesson.arch)].append(loss.item())
        self.optimizer.step()
        self.step += 1
        self._note(writer, {role: sum(values) / len(values) for role, values in losses.items()})

    def _role(self, arch: Architecture) -> str:
        return self._roles.get(arch, "between")

    def _note(self, writer: SummaryWriter | None, losses: dict[str, float]) -> None:
        for role, loss in losses.items():
            if loss != loss or loss == float("inf"):
                raise SupernetError(
                    f"the loss of the {role} subnet is {loss} at step {self.step}; "
                    f"try a lower learning rate (lr is {self.options.lr:g}) or a longer warm-up"
                )
            self.losses.setdefault(role, []).append(loss)
            if writer:
                writer.add_scalar(f"loss/{role}", loss, self.step)
        if writer:
            writer.add_scalar("learning_rate", self._lr(), self.step)

    def _lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def _finish_epoch(self, writer: SummaryWriter | None) -> None:
        epoch = self.step // self.epoch_steps
        seen: dict[str, float] = {}
        if epoch % self.options.evaluate_every == 0 or self.step == self.steps:
            evaluate = Evaluator(
                self.supernet, self.dataset, calibration_images=self.options.calibration_images
            )
            seen = {role: evaluate(arch).share for arch, role in self._roles.items()}
        losses = {role: sum(values) / len(values) for role, values in self.losses.items()}
        self.history.append(Epoch(epoch, self.step, self._lr(), losses, **seen))
        self.losses = {}
        log.info("epoch %d of %d: %s", epoch, self.options.epochs, self._words())
        for role, share in seen.items():
            if writer:
                writer.add_scalar(f"search_accuracy/{role}", share, self.step)

    def _words(self) -> str:
        """How it goes, from the last epoch that was looked at."""
        for epoch in reversed(self.history):
            if epoch.largest is not None and epoch.smallest is not None:
                return f"largest {epoch.largest:.1%}, smallest {epoch.smallest:.1%} right"
        return ""

    def _writer(self) -> SummaryWriter | None:
        if self.folder is None:
            return None
        from torch.utils.tensorboard.writer import SummaryWriter

        # What a killed run logged after its last checkpoint is logged again.
        try:
            return SummaryWriter(str(self.folder / LOG), purge_step=self.step + 1)
        except OSError as error:
            raise StateError(
                f"cannot write {self.folder / LOG}: {error.strerror}; choose a folder that can be written to"
            ) from error

    def _belongs_to(self) -> dict[str, Any]:
        """What has to be equal for a checkpoint to be continued."""
        options = {key: value for key, value in to_plain(self.options).items() if key not in _FREE}
        data = {name: len(self.dataset.split(name)) for name in ("train", "search", "test")}
        shape = [self.dataset.channels, self.dataset.resolution, *self.dataset.mean.flatten().tolist()]
        return {
            **options,
            "space": self.supernet.space.fingerprint,
            "strategy": repr(self.strategy),
            "data": [self.dataset.name, data, shape, self.dataset.shift, self.dataset.flip],
        }

    def _save(self) -> None:
        if self.folder is None:
            return
        model = {f"{_MODEL}{name}": tensor for name, tensor in self.supernet.state_dict().items()}
        optimizer = optimizer_tensors(self.supernet, self.optimizer)
        tensors = model | {f"{_OPTIMIZER}{name}": tensor for name, tensor in optimizer.items()}
        document = {
            "run": self._belongs_to(),
            "step": self.step,
            "losses": self.losses,
            "history": [asdict(epoch) for epoch in self.history],
        }
        write_checkpoint(self.folder / CHECKPOINT, tensors, document)

    def _resume(self) -> None:
        if self.folder is None or not (self.folder / CHECKPOINT).exists():
            return
        path = self.folder / CHECKPOINT
        tensors, document = read_checkpoint(path)
        for key, ours in self._belongs_to().items():
            theirs = document["run"].get(key)
            if theirs != ours:
                raise StateError(
                    f"{path} is of another training: its {key} is {theirs!r}, now {ours!r} is asked; "
                    f"choose another folder, or remove the file to start anew"
                )
        groups = {
            prefix: {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            for prefix in (_MODEL, _OPTIMIZER)
        }
        self.supernet.load_state_dict(groups[_MODEL])
        restore_optimizer(self.supernet, self.optimizer, groups[_OPTIMIZER])
        self.step = document["step"]
        self.losses = document["losses"]
        self.history = [Epoch(**epoch) for epoch in document["history"]]
        log.info("going on after step %d of %d", self.step, self.steps)
