"""Weights and logits in turns: the weights on a batch of the train split, the logits on one of the search split.

The recipe of the weights is that of any other training (`supernet.options.TrainOptions`); logits learn by Adam. A step
depends on its number and on what was learnt before, so a search that was killed goes on from its last checkpoint to
the same logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from supernet.checkpoint import Checkpoints, State, below, optimizer_tensors, restore_optimizer
from supernet.config import decode, to_plain
from supernet.differentiable import bilevel
from supernet.differentiable.method import Cost, Memory, Method, methods
from supernet.differentiable.options import DifferentiableOptions
from supernet.differentiable.pricing import macs_share
from supernet.differentiable.running import Mixtures, check_running, heaviest, planned
from supernet.elastic.expectation import entropy
from supernet.elastic.relaxation import Relaxation
from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError
from supernet.evaluate import layout_of
from supernet.memory.auto import Plan
from supernet.memory.sizes import bytes_of
from supernet.options import TrainOptions
from supernet.recipe import device_of
from supernet.same_training import check_same
from supernet.seeds import derive, generator, rng
from supernet.space import Architecture
from supernet.stepping import Stepper
from supernet.tasks.task import Batch, Dataset, moved

_MODEL, _LOGITS, _ADAM = "model/", "logits/", "adam/"
Progress = Callable[[int, int, str], None]
Drawn = Callable[[Relaxation], Relaxation]
Penalty = Callable[[Relaxation], Tensor]
"""From the mean relaxation to what is added to the loss of the logits, e.g. an expected cost times a factor."""


def as_drawn(relaxation: Relaxation) -> Relaxation:
    """The same."""
    return relaxation


@dataclass(frozen=True)
class Seen:
    """What a search was after an epoch.

    Args:
        epoch: from 1.
        train: mean loss of the weights' steps.
        search: mean loss of the logits' steps; None before they learn.
        entropy: how undecided the logits are, from 1 to 0.
        genes: of the architecture they lean to.
    """

    epoch: int
    train: float
    search: float | None
    entropy: float
    genes: tuple[int, ...]


class Logits(nn.Module):
    """The logits as a module, for an optimiser and a checkpoint."""

    def __init__(self, initial: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, value in initial.items():
            self.register_parameter(name.replace(".", "/"), nn.Parameter(value))

    def by_choice(self) -> dict[str, Tensor]:
        """By the names of their choices."""
        return {name.replace("/", "."): parameter for name, parameter in self.named_parameters()}


class DifferentiableTrainer:
    """One differentiable search, which goes on where an earlier one in the same folder stopped.

    Args:
        supernet: whose weights learn, in place, and whose choices are searched.
        dataset: the weights learn from its train split, the logits from its search split.
        options: the recipe of the weights.
        search: that of the logits.
        folder: for the checkpoint; None keeps nothing.
        penalty: added to the loss of the logits, e.g. an expected latency; it is no part of the checkpoint.

    Raises:
        SupernetError: for a method that is not registered.
        ConfigError: for an option it does not have, or a space without a choice that can be relaxed.
        StateError: when the folder holds the checkpoint of another search, or a damaged one.
    """

    def __init__(
        self,
        supernet: Supernet,
        dataset: Dataset,
        options: TrainOptions | None = None,
        search: DifferentiableOptions | None = None,
        folder: Path | None = None,
        *,
        penalty: Penalty | None = None,
    ) -> None:
        self.options, self.search = options or TrainOptions(), search or DifferentiableOptions()
        self.method: Method = decode(
            self.search.method_options, methods[self.search.method], "method_options"
        )
        initial = self.method.initial(supernet.relaxable, generator(self.options.seed, "logits"))
        if not initial:
            raise ConfigError(
                f"no choice of this space is {self.method.about}, which {self.search.method} needs; presets of "
                "candidates are e.g. darts, nasbench201, proxylessnas and spos, of sizes single_path"
            )
        if self.search.order != "first" and self.method.one_level:
            raise ConfigError(
                f"order={self.search.order!r} looks ahead at the search split, and with {self.search.method} weights "
                "and logits learn from the same batches; take order='first'"
            )
        if self.search.order == "exact" and self.search.method == "proxylessnas":
            raise ConfigError(
                "order='exact' differentiates through a step of the weights, and the gates of proxylessnas have a "
                "first derivative only; take order='second' or 'first'"
            )
        self.device = device_of(self.options)
        self.layout = layout_of(supernet, self.device)
        self.supernet: Supernet = supernet.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]
        self.dataset, self.task, self.penalty = dataset, dataset.task, penalty
        self.epoch_steps = dataset.epoch_steps(self.options.batch_size)
        self.steps = self.options.epochs * self.epoch_steps
        check_running(supernet, self.options, self.search.order)
        self.stepper = Stepper(supernet, self.options, self.epoch_steps)
        self.mixtures = Mixtures(supernet, self.options.execution)
        self.logits = Logits(initial).to(self.device)
        lr, decay = self.search.lr, self.search.weight_decay
        self.adam = torch.optim.Adam(self.logits.parameters(), lr, betas=(0.5, 0.999), weight_decay=decay)
        self.base = supernet.space.largest()
        self.held = list(dataset.batches("search", self.options.batch_size))
        self.checkpoints = Checkpoints(folder)
        self.cost: Cost | None = None
        if self.method.costs:
            self.cost = macs_share(self.supernet, self.task.example_inputs().to(self.device))
        self.step = 0
        self.history: list[Seen] = []
        self.memory: Memory = {}
        self.plan: Plan | None = None
        """How mixtures run within ``train.memory``."""
        self._resume()

    def run(self, progress: Progress | None = None) -> Architecture:
        """Search to the end.

        Args:
            progress: told after every step.

        Returns:
            The architecture that the logits lean to.
        """
        train: list[float] = []
        search: list[float] = []
        if self.step < self.steps:
            self._fit()
        while self.step < self.steps:
            batch = self._batch()
            self.supernet.train()
            self.stepper.begin(self.step)
            if self.logits_learn:
                search.append(self._learn_logits(batch))
            train.append(self._learn_weights(batch))
            self.step += 1
            if self.step % self.epoch_steps == 0:
                self._finish_epoch(train, search)
                train, search = [], []
            if progress:
                progress(self.step, self.steps, self.words())
        self.stepper.settle()
        self.supernet.eval().to(memory_format=torch.contiguous_format)
        return self.architecture

    @property
    def logits_learn(self) -> bool:
        """Whether the warm-up of the weights is over."""
        return self.step >= round(self.search.warmup * self.options.epochs) * self.epoch_steps

    @property
    def architecture(self) -> Architecture:
        """What the logits lean to."""
        return self.supernet.relaxable.leaning(self.mean())

    def mean(self) -> Relaxation:
        """What the logits are on the average."""
        return self.method.mean(self.supernet.relaxable, self.logits.by_choice(), self.base)

    def relaxation(self) -> Relaxation:
        """What the weights learn with, drawn anew where the method draws."""
        return self.method.relaxation(self.supernet.relaxable, self.logits.by_choice(), self.base)

    def words(self) -> str:
        """How it goes, from the last epoch."""
        if not self.history:
            return ""
        last = self.history[-1]
        return f"loss {last.train:.3f}, entropy {last.entropy:.3f}"

    def _fit(self) -> None:
        """Choose modes that make do with the bytes there are; those of an earlier run, where these are the same."""
        memory = self.options.memory
        if not memory:
            return
        if self.plan is None or self.plan.budget != bytes_of(memory):
            batch = self._batch()
            inputs = self.task.inputs(batch).to(memory_format=self.layout)

            def step() -> None:
                """All gradients of a step."""
                if self.search.warmup < 1:
                    self._learnt_by_logits(batch, heaviest)
                self.stepper.backward(self._loss(batch, "weights", heaviest)(None))
                self.supernet.zero_grad()
                self.logits.zero_grad()

            self.stepper.begin(self.step)
            self.plan = planned(
                self.mixtures,
                lambda: heaviest(self.relaxation()),
                inputs,
                self.stepper.autocast,
                step,
                memory,
            )
        self.mixtures.execution = self.plan.execution or "plain"

    def _batch(self) -> Batch:
        """That of the train split for this step."""
        batch = self.dataset.batch(self.step, self.options.batch_size, self.options.seed)
        return moved(batch, self.device)

    def _learn_weights(self, batch: Batch) -> float:
        """A step of the weights under these logits."""
        loss = self._loss(batch, "weights")(None)
        self.stepper.backward(loss)
        self.stepper.step()
        self.logits.zero_grad()
        return float(loss.detach())

    def _learn_logits(self, batch: Batch) -> float:
        """A step of the logits, on a batch of the search split or on that of the weights."""
        gradients, loss = self._learnt_by_logits(batch)
        for logit, gradient in zip(self.logits.parameters(), gradients):
            logit.grad = gradient.detach()
        self.adam.step()
        self.adam.zero_grad()
        if (cost := self.cost) is not None:
            self.method.after_step(
                self.logits.by_choice(),
                lambda logits: cost(self.method.mean(self.supernet.relaxable, logits, self.base)),
            )
        return loss

    def _learnt_by_logits(self, batch: Batch, drawn: Drawn = as_drawn) -> tuple[list[Tensor], float]:
        """Their gradients, and the search loss."""
        held = batch if self.method.one_level else moved(self._held(), self.device)
        train, search = self._loss(batch, "logits", drawn), self._loss(held, "logits", drawn)
        seen: list[float] = []

        def judged(weights: bilevel.Weights | None) -> Tensor:
            """The search loss, noted."""
            loss = search(weights)
            seen.append(float(loss.detach()))
            loss = loss + self.method.penalty(self.logits.by_choice())
            if self.cost is not None:
                loss = loss + self.method.burden(self.cost(self.mean()), self.memory)
            return loss if self.penalty is None else loss + self.penalty(self.mean())

        return self._gradients(list(self.logits.parameters()), train, judged), seen[0]

    def _held(self) -> Batch:
        """The batch of the search split for this step."""
        turn, place = divmod(self.step, len(self.held))
        order = rng(self.options.seed, "search", turn).sample(range(len(self.held)), len(self.held))
        return self.held[order[place]]

    def _gradients(
        self, logits: list[nn.Parameter], train: bilevel.Loss, search: bilevel.Loss
    ) -> list[Tensor]:
        if self.search.order == "first":
            return bilevel.first_order(logits, search)
        weights = dict(self.supernet.named_parameters())
        look = bilevel.finite if self.search.order == "second" else bilevel.exact
        return look(logits, weights, train, search, self.stepper.lr)

    def _loss(self, batch: Batch, what: str, drawn: Drawn = as_drawn) -> bilevel.Loss:
        """The task's loss of the mixture on a batch; the same draws at every call in a step."""
        inputs = self.task.inputs(batch).to(memory_format=self.layout)
        devices = [self.device] if self.device.type == "cuda" else []

        def loss(weights: bilevel.Weights | None) -> Tensor:
            """With the shared weights, or others in their place."""
            with torch.random.fork_rng(devices), self.stepper.autocast():
                torch.manual_seed(derive(self.options.seed, what, self.step))
                args = (drawn(self.relaxation()), *inputs.args)
                if weights is None:
                    outputs = self.mixtures(*args, **inputs.kwargs)
                else:
                    others = {f"supernet.{name}": weight for name, weight in weights.items()}
                    outputs = functional_call(self.mixtures, others, args, dict(inputs.kwargs))
                return self.task.loss(outputs, batch, smoothing=self.options.label_smoothing)

        return loss

    def _finish_epoch(self, train: list[float], search: list[float]) -> None:
        if search:
            self.memory = self.method.after_epoch(
                self.supernet.relaxable, self.logits.by_choice(), self.memory
            )
        mean = self.mean()
        self.history.append(
            Seen(
                self.step // self.epoch_steps,
                sum(train) / max(len(train), 1),
                sum(search) / len(search) if search else None,
                entropy(mean),
                self.architecture.genes,
            )
        )
        if self.checkpoints.folder is not None:
            self.checkpoints.write(*self._state(), good=True)

    def _belongs_to(self) -> dict[str, Any]:
        return {
            **to_plain(self.options),
            **{f"search.{name}": value for name, value in to_plain(self.search).items()},
            "space": self.supernet.space.fingerprint,
            "data": self.dataset.identity(),
            "processes": 1,
        }

    def _state(self) -> State:
        tensors = {f"{_MODEL}{name}": tensor for name, tensor in self.supernet.state_dict().items()}
        tensors |= {f"{_LOGITS}{name}": tensor for name, tensor in self.logits.state_dict().items()}
        tensors |= {f"{_ADAM}{name}": t for name, t in optimizer_tensors(self.logits, self.adam).items()}
        document = {
            "run": self._belongs_to(),
            "step": self.step,
            "memory": self.memory,
            "plan": self.plan and self.plan.to_json(),
            "history": [asdict(one) for one in self.history],
        }
        return tensors | self.stepper.tensors(), document

    def _resume(self) -> None:
        path = self.checkpoints.last_path
        if path is None or (last := self.checkpoints.last()) is None:
            return
        tensors, document = last
        check_same(
            path, document["run"], self._belongs_to(), self.options, ended=document["step"] == self.steps
        )
        self.supernet.load_state_dict(below(_MODEL, tensors))
        self.logits.load_state_dict(below(_LOGITS, tensors))
        restore_optimizer(self.logits, self.adam, below(_ADAM, tensors))
        self.stepper.restore(tensors)
        self.step, self.memory = document["step"], document.get("memory", {})
        plan = document.get("plan")
        self.plan = plan and Plan(**plan)
        self.history = [Seen(**{**one, "genes": tuple(one["genes"])}) for one in document["history"]]
