"""How a search runs its mixtures: in the execution that the recipe names, or within a number of bytes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from supernet.elastic.inputs import Inputs
from supernet.elastic.relaxation import Relaxation
from supernet.elastic.subnet import Subnet
from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError
from supernet.memory.auto import Plan, Subject, plan
from supernet.memory.modes import Execution, has_second_derivative
from supernet.memory.sizes import bytes_of
from supernet.options import TrainOptions
from supernet.probing import fixed_buffers
from supernet.reversible import ReversibleStage


class Mixtures(nn.Module):
    """Runs mixtures of a supernet, whose parameters are its own: others can be put in their place.

    Args:
        supernet: whose.
        execution: as `Supernet.subnet` takes it.
    """

    def __init__(self, supernet: Supernet, execution: Execution) -> None:
        super().__init__()
        self.supernet = supernet
        self.execution: Execution = execution

    def forward(self, relaxation: Relaxation, *args: Any, **kwargs: Any) -> Any:
        """What the network answers.

        Args:
            relaxation: of its choices.
            *args: as the network takes them.
            **kwargs: likewise.
        """
        if self.execution == "plain":
            return self.supernet(*args, relaxation, **kwargs)
        return self.supernet.subnet(relaxation, execution=self.execution)(*args, **kwargs)


def check_running(supernet: Supernet, options: TrainOptions, order: str) -> None:
    """Refuse what a search cannot do with its mixtures.

    Args:
        supernet: that is searched.
        options: the recipe of the weights.
        order: of the gradient of the logits.

    Raises:
        ConfigError: for ``compiled``, for a batch in parts, for a mode without a second derivative where one is taken.
        SupernetError: for an execution, a mode or a module that is not there, or a mode that this network cannot have.
    """
    if options.execution == "compiled":
        raise ConfigError(
            "execution is 'compiled', in graphs that architectures share, and a mixture has weights of its own; take "
            "'plain', 'fused' or 'checkpoint'"
        )
    if options.accumulate > 1:
        raise ConfigError(
            f"accumulate is {options.accumulate}, and a differentiable search learns from whole batches; lower "
            f"batch_size, or name the bytes there are: memory"
        )
    supernet.subnet(supernet.space.largest(), execution=options.execution)
    if order != "exact":
        return
    stages = [
        path for path, module in supernet.largest.named_modules() if isinstance(module, ReversibleStage)
    ]
    if not has_second_derivative(options.execution) or (options.memory and stages):
        asked = (
            f"execution is {options.execution!r}"
            if not options.memory
            else f"memory may run {stages[0]!r} backwards"
        )
        raise ConfigError(
            f"order='exact' differentiates twice, and {asked}, which has a first derivative only; take execution "
            f"'plain', 'fused' or 'checkpoint', or order='second', which needs gradients alone"
        )


def planned(
    mixtures: Mixtures,
    relaxation: Callable[[], Relaxation],
    inputs: Inputs,
    autocast: Callable[[], AbstractContextManager[Any]],
    step: Callable[[], object],
    memory: str,
) -> Plan:
    """The fastest modes for the steps of a search within a number of bytes.

    Weights, statistics and global randomness stay as they are.

    Args:
        mixtures: runs the steps.
        relaxation: makes the weights that need most.
        inputs: of a batch.
        autocast: the precision of the recipe.
        step: takes all gradients of a step with such weights, and moves nothing.
        memory: the bytes, as ``train.memory`` says.

    Raises:
        ConfigError: when that is too little; the message says what is needed.
    """
    supernet, before = mixtures.supernet, mixtures.execution

    def run(subnet: Subnet) -> Any:
        """An answer, in the precision of the training."""
        with autocast():
            return subnet(*inputs.args, **inputs.kwargs)

    def whole(subnet: Subnet) -> None:
        """A step in the execution of a subnet."""
        mixtures.execution = subnet.execution
        step()

    subject = Subject(
        lambda execution: supernet.subnet(relaxation(), execution=execution),
        run,
        whole,
        next(supernet.parameters()).device,
        lambda subnet: subnet.network,
    )
    supernet.train()
    try:
        with torch.random.fork_rng(), fixed_buffers(supernet):
            return plan(subject, bytes_of(memory))
    finally:
        mixtures.execution = before


def heaviest(relaxation: Relaxation) -> Relaxation:
    """The same weights in ascending order: where only some values are drawn, these are now the last of each choice.

    Values ascend by what they need, as in `SearchSpace.largest`; gradients are those of the weights.
    """
    weights = {
        name: one + (one.detach().sort().values - one.detach()) for name, one in relaxation.weights.items()
    }
    return replace(relaxation, weights=weights)
