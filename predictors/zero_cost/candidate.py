"""What a score is given of a subnet, and how it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from supernet.elastic.inputs import Inputs
from supernet.elastic.subnet import Subnet
from supernet.errors import SupernetError
from supernet.probing import without_dropout
from supernet.registry import Registry
from supernet.tasks.task import Batch, Task, main_tensor, piece_of


class ScoreError(SupernetError):
    """A network or a batch of which a score says nothing; the message says why."""


@dataclass(frozen=True)
class Candidate:
    """A subnet that was cut out for one score, which may do with it whatever it likes.

    Args:
        network: in training mode, so that batch norms take the statistics of the batch; its weights are its own.
        inputs: what it is shown.
        task: says what a loss is.
        batch: the examples.
        macs: counts the multiply-adds of one example.
        seed: of what is drawn.
    """

    network: nn.Module
    inputs: Inputs
    task: Task
    batch: Batch
    macs: Callable[[], int]
    seed: int

    @property
    def weights(self) -> list[nn.Parameter]:
        """What is multiplied with: parameters of two or more axes that learn, without biases and those of norms."""
        return [each for each in self.network.parameters() if each.requires_grad and each.dim() > 1]

    def answer(self) -> Tensor:
        """The answers to the batch, a row for each example."""
        return main_tensor(self.inputs.call(self.network))

    def loss(self) -> Tensor:
        """Of the batch, the mean over its examples."""
        return self.task.loss(self.inputs.call(self.network), self.batch)

    def slopes(self, *, differentiable: bool = False) -> list[Tensor]:
        """The gradients of the loss by `weights`; zero for one that the loss does not depend on."""
        found = torch.autograd.grad(
            self.loss(), self.weights, allow_unused=True, create_graph=differentiable, materialize_grads=True
        )
        return list(found)

    def part(self, i: int, n: int) -> Candidate:
        """The same network with every ``n``-th example of the batch, from the ``i``-th on."""
        inputs = self.inputs.map(lambda tensor: tensor[i::n])
        return replace(self, inputs=inputs, batch=piece_of(self.batch, i, n)[0])

    def modules(self, *kinds: type[nn.Module]) -> dict[str, nn.Module]:
        """The modules of some classes, by path."""
        return {path: one for path, one in self.network.named_modules() if isinstance(one, kinds)}


scores: Registry[Callable[[Candidate], float]] = Registry(
    "zero-cost score",
    modules=[
        f"predictors.zero_cost.{name}"
        for name in (
            "params", "macs", "grad_norm", "snip", "grasp", "synflow", "fisher", "jacobian", "naswot", "zen", "zico",
            "hidden_covariance",
        )
    ],
    group="supernet.scores",
)  # fmt: skip
"""Scores by name: more should be better. One that says nothing of a network raises `ScoreError`."""


def zero_cost(name: str, subnet: Subnet, batch: Batch, task: Task, *, seed: int = 0) -> float:
    """One score of a subnet; its supernet, its gradients and the randomness of others stay as they are.

    The weights are those the supernet has: as published before a training, where a score is cheap, and of shared
    weights after it.

    Args:
        name: of `scores`.
        subnet: as `Supernet.subnet` makes it.
        batch: some examples of the task, as a data source gives them.
        task: what they are for.
        seed: of what a score draws.

    Raises:
        ScoreError: when it says nothing of such a network or of so few examples.
        SupernetError: when there is no score of that name.
    """
    score, values = scores[name], subnet.supernet.input_values(subnet.arch)
    inputs = task.inputs(batch, values)
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        torch.manual_seed(seed)
        network = subnet.extract().train()
        with without_dropout(network):
            found = float(
                score(Candidate(network, inputs, task, batch, partial(_macs, subnet, inputs), seed))
            )
    if not isfinite(found):
        raise ScoreError(f"{name} of {subnet.arch.id} is {found}; its weights or the batch hold no signal")
    return found


def _macs(subnet: Subnet, inputs: Inputs) -> int:
    return subnet.supernet.costs(inputs.with_batch(1)).of(subnet.arch).macs
