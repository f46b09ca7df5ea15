"""How the verification runs a network: in the most exact type that works, in evaluation and in training."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from supernet.elastic.answers import answers
from supernet.elastic.cutting import duplicate
from supernet.elastic.inputs import Inputs
from supernet.elastic.references import Replacing, plain_attributes
from supernet.elastic.skeleton import bind, carry_state
from supernet.elastic.slicing import Slices, named_tensors
from supernet.elastic.watching import Calls, Watched, watching
from supernet.errors import ConversionError

log = logging.getLogger(__name__)

MANY_MACS = 20_000_000_000
"""A network that takes more multiply-adds for the example is checked in single precision, in half the time."""
MACS_OF_A_CALL = 20_000_000
"""About as many multiply-adds take as long as one call on tensors without entries."""
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""Largest difference that rounding explains, as a share of the largest entry of an answer."""


@dataclass(frozen=True)
class Said:
    """What a network answered, and what it did for that.

    Args:
        tensors: of the answer, in the order of its nesting.
        watched: its calls and the sizes it compared.
    """

    tensors: list[Tensor]
    watched: Watched


class Failed(Exception):
    """The network under test raised an error; its cause."""


class Trial:
    """One network with weights that show every difference, and inputs it runs on.

    Args:
        model: not touched.
        inputs: as it takes them.
        macs: multiply-adds of one run on these inputs.
        ops: calls of one run.

    Raises:
        ConversionError: when it runs on the inputs in no floating type.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, macs: int = 0, ops: int = 0) -> None:
        self.single = single = macs > MANY_MACS
        own = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
        exact = () if single else (torch.float64,)
        for dtype in dict.fromkeys((*exact, torch.float32, own)):
            self.tolerance = TOLERANCE.get(dtype, 5e-2)
            self.double = dtype is torch.float64
            self.model = without_drops(randomised(_cast(duplicate(model).eval(), dtype))).requires_grad_(
                False
            )
            self.inputs = _in_type(inputs, dtype)
            try:
                self.whole = self.run(bind(self.model, Slices({}, frozenset())))
                break
            except Failed as error:
                log.info("the check does not run in %s: %s", dtype, error)
                failure = error
        else:
            raise ConversionError(
                f"{type(model).__name__} does not run on the example {inputs}: {failure}; "
                f"give one it takes, batch first"
            )
        self.batch = training_inputs(self.inputs)
        self.without_numbers = macs > MACS_OF_A_CALL * ops
        """Whether to run it on tensors that have a shape and no entries where that is enough: it saves time then."""
        calls = [self._calls(training) for training in (False, True)]
        self.without_numbers &= calls[0] is not None
        self.same = calls[0] is not None and calls[0] == calls[1]
        """Whether it does the same in training as in evaluation; then evaluation speaks for both."""
        self.trained = None if self.same else self._trained()

    @property
    def modes(self) -> tuple[bool, ...]:
        """Whether to check in training: False, and True where the network trains, and otherwise than it answers."""
        return (False,) if self.trained is None else (False, True)

    @property
    def trains(self) -> bool:
        """Whether what is checked holds in training, too."""
        return self.same or self.trained is not None

    def whole_in(self, training: bool) -> Said:
        """What the whole network says."""
        said = self.trained if training else self.whole
        assert said is not None
        return said

    def bound(self, network: nn.Module, slices: Slices, training: bool) -> nn.Module:
        """A network with these slices; in training with statistics of its own, so that it changes nothing."""
        if not training:
            return bind(network, slices)
        tensors = dict(slices.tensors)
        for name, buffer in network.named_buffers():
            tensors[name] = tensors.get(name, buffer).clone()
        return bind(network, Slices(tensors, slices.absent), training=True)

    def run(
        self,
        network: nn.Module,
        training: bool = False,
        over: AbstractContextManager[Any] | None = None,
        *,
        gradient: bool = False,
        seed: int = 0,
    ) -> Said:
        """What a network says to the inputs.

        Args:
            network: with the weights of the trial.
            training: whether it gets the inputs of training, which are several.
            over: a mode in which its functions are changed.
            gradient: whether the answer can be differentiated.
            seed: of its randomness.

        Raises:
            Failed: when the network raises an error.
        """
        inputs = self.batch if training else self.inputs
        with over or nullcontext(), watching(self.double) as watched:
            return Said(answered(network, inputs, gradient=gradient, seed=seed), watched)

    def run_without_numbers(self, network: nn.Module, training: bool = False) -> Said:
        """The same on tensors without entries: what is called and compared, and whether it runs, for little.

        Raises:
            Failed: when the network raises an error.
        """
        return self.run(network, training, self._numbers())

    def _numbers(self) -> AbstractContextManager[Any]:
        return numberless() if self.without_numbers else nullcontext()

    def _calls(self, training: bool) -> list[Any] | None:
        """What it calls with which numbers; None when that depends on the entries of a tensor."""
        network = self.bound(self.model, Slices({}, frozenset()), training)
        with self._numbers(), Calls(network) as calls:
            try:
                answered(network, self.batch)
            except Failed as error:
                log.info("not run without numbers: %s", error)
                return None
        made: list[Any] = calls.made
        return made

    def _trained(self) -> Said | None:
        """What it says in training, going on from the state of a first run; None when it does not train."""
        nothing = Slices({}, frozenset())
        try:
            first = self.bound(self.model, nothing, True)
            self.run(first, True)
            # State that another architecture left behind must not matter to any.
            carry_state(first, lambda name, whole, part: part)
            said = self.run(self.bound(self.model, nothing, True), True)
            again = self.run(self.bound(self.model, nothing, True), True, seed=1)
        except Failed as error:
            log.info("not checked in training, which fails: %s", error)
            return None
        if any(not torch.equal(a, b) for a, b in zip(said.tensors, again.tensors)):
            log.info("not checked in training, which is random")
            return None
        return said


@contextmanager
def numberless() -> Iterator[None]:
    """Tensors inside have shapes and types and no entries; what fails is not logged as well by PyTorch."""
    loud = logging.getLogger("torch._subclasses.fake_tensor")
    before, loud.disabled = loud.disabled, True
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        loud.disabled = before


def answered(network: nn.Module, inputs: Inputs, *, gradient: bool = False, seed: int = 0) -> list[Tensor]:
    """The tensors a network answers with, in the order of their nesting.

    Raises:
        Failed: when the network raises an error.
    """
    on_gpu = {tensor.device for tensor in inputs.tensors if tensor.is_cuda}
    with torch.random.fork_rng(devices=on_gpu), torch.set_grad_enabled(gradient):
        torch.manual_seed(seed)
        try:
            outputs = inputs.call(network)
        except Exception as error:  # a network may raise anything
            raise Failed((str(error).strip().splitlines() or [type(error).__name__])[0]) from error
    return answers(outputs)


def training_inputs(inputs: Inputs) -> Inputs:
    """At least two examples that differ: a batch norm that trains has nothing to normalise in one."""
    batched = any(tensor.dim() > inputs.batch_axis for tensor in inputs.tensors)
    generator = torch.Generator().manual_seed(0)

    def stirred(tensor: Tensor) -> Tensor:
        """The tensor with noise; masks and the like have few values, and are left as they are."""
        if not tensor.is_floating_point() or len(torch.unique(tensor)) <= 2:
            return tensor
        noise = torch.randn(tensor.shape, generator=generator).to(tensor)
        return tensor + 0.5 * tensor.std() * noise

    return inputs.with_batch(max(2, inputs.batch)).map(stirred) if batched else inputs


def _in_type(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    def change(tensor: Tensor) -> Tensor:
        """A leaf in the type."""
        return _changed(tensor.detach(), dtype)

    return inputs.map(change)


def _changed(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if tensor.is_complex():
        return tensor.to(torch.complex128 if dtype is torch.float64 else torch.complex64)
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _cast(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A network in another floating type, in place: tensors in plain attributes too."""
    network._apply(lambda tensor: _changed(tensor, dtype))  # type: ignore[no-untyped-call]
    known: dict[int, Any] = {id(module): module for module in network.modules()}
    known |= {id(tensor): tensor for _, tensor in named_tensors(network)}
    changed = Replacing(
        known,
        module=lambda module: _cast(module, dtype),
        tensor=lambda tensor: _changed(tensor, dtype),
        own=False,
    )
    for module in network.modules():
        for name, value in list(plain_attributes(module)):
            module.__dict__[name] = changed(value)
    return network


def without_drops(network: nn.Module) -> nn.Module:
    """The network with every probability of leaving something out at random set to zero, in place."""
    for module in network.modules():
        drops = any(word in type(module).__name__.lower() for word in ("drop", "stochastic"))
        for name, value in list(vars(module).items()):
            if type(value) is float and 0 < value < 1 and ("drop" in name.lower() or (drops and name == "p")):
                setattr(module, name, 0.0)
    return network


def randomised(network: nn.Module) -> nn.Module:
    """The network with weights that hide nothing: random statistics, no zero gammas; in place."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in named_tensors(network):
        if not tensor.is_floating_point():
            continue
        value = tensor.data
        flat = value.numel() == max(value.shape, default=1)
        if name.endswith(("running_var", "weight", "gamma", "scale")) and flat:
            value.copy_(torch.empty(value.shape).uniform_(0.5, 1.5, generator=generator))
        elif isinstance(tensor, nn.Parameter) and (flat or (value == value.flatten()[:1]).all()):
            value.copy_(torch.empty(value.shape).normal_(0.1, 0.1, generator=generator))
        elif name.endswith("running_mean"):
            value.copy_(torch.empty(value.shape).normal_(0, 0.1, generator=generator))
    return network
