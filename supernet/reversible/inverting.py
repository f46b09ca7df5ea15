"""The memory-free way through a reversible stage: one autograd function that keeps only what comes out.

The backward pass undoes one coupling after the other, last first: it runs the branch again, with a graph, on streams
that are already those of before, takes its output away, and asks for the gradients of this one branch. What the branch
was is frozen when the forward pass ends, and what it needs (parameters, mixture weights) are inputs of the function.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_flatten, tree_unflatten

from supernet.errors import SupernetError
from supernet.reversible.arithmetic import Arithmetic, FixedPoint, Range, fingerprint, need_same
from supernet.reversible.coupling import Coupling, need_shape
from supernet.reversible.freezing import Frozen, freeze, reaches_beyond
from supernet.reversible.lanes import Lanes, lanes
from supernet.reversible.replaying import Noting, Statistics, replaying
from supernet.reversible.surroundings import (
    Autocast,
    autocast_as,
    autocast_now,
    drew,
    generator_states,
    generators_at,
)


@dataclass
class Step:
    """One coupling as it was run.

    Args:
        coupling: which one; only what never changes is read of it.
        frozen: its branch.
        factor: position of its factor among the inputs, or the factor itself.
        places: of its parameters among the inputs.
        states: of the generators before it ran; None when it drew nothing.
        statistics: what its batch norms measured.
    """

    coupling: Coupling
    frozen: Frozen
    factor: int | float | None
    places: tuple[int, ...]
    states: tuple[Tensor, ...] | None = None
    statistics: Statistics = field(default_factory=deque)


@dataclass
class Again:
    """A branch that was run again, with its graph."""

    step: Step
    out: Tensor
    given: list[Tensor]
    extra: list[Tensor]
    own: Tensor | None


class Pass:
    """One pass through a stage: what the forward half leaves for the backward half.

    Args:
        couplings: in order, without those that are left out.
        arithmetic: how streams are held.
        inner: type the branches are given; None for that of the streams.
        overlap: whether the next branch is run again while the gradients of this one are computed.
        extra: what every branch is given beside streams, in its nesting.
    """

    def __init__(
        self,
        couplings: Sequence[Coupling],
        arithmetic: Arithmetic,
        inner: torch.dtype | None,
        overlap: bool,
        extra: Sequence[Any],
    ) -> None:
        self.arithmetic, self.inner, self.overlap = arithmetic, inner, overlap
        self.leaves, self.spec = tree_flatten(tuple(extra))
        self.changed = sorted({coupling.stream for coupling in couplings})
        self.inputs: list[Tensor] = []
        self.places: dict[int, int] = {}
        self.couplings = couplings
        self.steps: list[Step] = []
        self.learning: list[tuple[int, int]] = []
        self.count = 0
        self.autocast: Autocast = ()
        self.before: Tensor | None = None

    def __call__(self, streams: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What `ReversibleStage` answers; recorded as one node of the graph."""
        self.count, self.inputs = len(streams), list(streams)
        self.learning = [
            (i, self._place(leaf))
            for i, leaf in enumerate(self.leaves)
            if isinstance(leaf, Tensor) and leaf.requires_grad
        ]
        self.steps = [self._frozen(coupling) for coupling in self.couplings]
        # The node of the graph keeps what it needs of its inputs.
        inputs, self.inputs = self.inputs, []
        results = dict(zip(self.changed, _Inverting.apply(self, *inputs)))
        return tuple(results.get(i, stream) for i, stream in enumerate(streams))

    def _frozen(self, coupling: Coupling) -> Step:
        factor, frozen = coupling.factor(), freeze(coupling.branch)
        places = tuple(self._place(own) for own in frozen.originals)
        return Step(coupling, frozen, self._place(factor) if isinstance(factor, Tensor) else factor, places)

    def _place(self, tensor: Tensor) -> int:
        """The position of a tensor among the inputs of the function, where it is put when it is new."""
        if id(tensor) not in self.places:
            self.places[id(tensor)] = len(self.inputs)
            self.inputs.append(tensor)
        return self.places[id(tensor)]

    def extras(self, values: Sequence[Tensor]) -> Any:
        """What branches are given beside streams, with these tensors in the place of those that learn."""
        leaves = list(self.leaves)
        for (i, _), value in zip(self.learning, values):
            leaves[i] = value
        return tree_unflatten(leaves, self.spec)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The streams at the end, as they are held and as values; nothing else is kept."""
        device = inputs[0].device
        self.autocast = autocast_now(device)
        held = [self.arithmetic.held(x) for x in inputs[: self.count]]
        reach = None
        if isinstance(self.arithmetic, FixedPoint):
            self.before, reach = fingerprint(held), Range(inputs[: self.count])
        extra = self.extras([inputs[place] for _, place in self.learning])
        states = generator_states(device)
        with autocast_as(self.autocast):
            for step in self.steps:
                coupling = step.coupling
                versions = [tensor._version for tensor in step.frozen.read]
                given = [self._given(held[i]) for i in coupling.reads]
                out = self._first(step, given, extra)
                own = held[coupling.stream]
                need_shape(coupling, out, own)
                states = self._note(step, states, versions, device)
                if reach:
                    reach.grow(coupling.stream, out)
                held[coupling.stream] = self.arithmetic.add(own, self._factor(step, inputs), out)
                del given, out, own
        values = [self.arithmetic.read(held[i]) for i in self.changed]
        return held, [value + reach.poison() for value in values] if reach else values

    def _first(self, step: Step, given: list[Tensor], extra: Any) -> Tensor:
        """What a branch answers; whole numbers need the very same kernels at the second run, so nothing is noted."""
        if isinstance(self.arithmetic, FixedPoint):
            out: Tensor = step.coupling.branch(*given, *extra)
            return out
        with Noting() as noting:
            out = step.coupling.branch(*given, *extra)
        step.statistics = noting.statistics
        return out

    def _given(self, stream: Tensor) -> Tensor:
        value = self.arithmetic.read(stream)
        return value if self.inner is None else value.to(self.inner)

    def _factor(self, step: Step, inputs: Sequence[Tensor]) -> Tensor | float | None:
        return inputs[step.factor] if isinstance(step.factor, int) else step.factor

    def _note(
        self, step: Step, states: tuple[Tensor, ...], versions: Sequence[int], device: torch.device
    ) -> tuple[Tensor, ...]:
        """Keep the states of the generators for a branch that drew, and refuse what a second run would repeat."""
        title = step.coupling.title
        if any(tensor._version != old for tensor, old in zip(step.frozen.read, versions)):
            raise SupernetError(
                f"{title} changes its own parameters or buffers as it runs, and would do so twice; "
                "run this stage in the mode 'plain' or 'checkpoint'"
            )
        after = generator_states(device)
        if drew(states, after):
            if isinstance(self.arithmetic, FixedPoint):
                raise SupernetError(random_branch(title, "it"))
            step.states = states
        return after

    def backward(self, held: list[Tensor], inputs: Sequence[Tensor], grads: list[Tensor | None]) -> list[Any]:
        """The gradients of all inputs."""
        found: list[Tensor | None] = [None] * len(inputs)
        run: deque[tuple[int, Again]] = deque()
        side = lanes(held[0].device if self.overlap else None)
        with autocast_as(self.autocast), side:
            for k, step in enumerate(reversed(self.steps)):
                with side.recomputing(k, held):
                    run.append((k, self._again(step, held, inputs)))
                while len(run) > int(self.overlap):
                    self._differentiate(side, *run.popleft(), grads, found, inputs)
            while run:
                self._differentiate(side, *run.popleft(), grads, found, inputs)
        if self.before is not None:
            need_same(self.before, fingerprint(held))
        found[: self.count] = grads
        return found

    def _again(self, step: Step, held: list[Tensor], inputs: Sequence[Tensor]) -> Again:
        """Run a branch again and undo its coupling: ``held`` are the streams of before."""
        coupling = step.coupling
        given = [self.arithmetic.read(held[i]).detach().requires_grad_() for i in coupling.reads]
        extra = [inputs[place].detach().requires_grad_() for _, place in self.learning]
        with torch.enable_grad(), generators_at(step.states, held[0].device):
            cast = given if self.inner is None else [x.to(self.inner) for x in given]
            with nullcontext() if isinstance(self.arithmetic, FixedPoint) else replaying(step.statistics):
                out = step.frozen.branch(*cast, *self.extras(extra))
        del cast
        leaves = (*given, *extra, *step.frozen.leaves)
        if reaches_beyond(out, leaves):
            raise SupernetError(
                f"{coupling.title} uses a tensor that learns and is none of its parameters; give it to the stage, "
                "stage(*streams, extra=(tensor,)), and every branch is called with it after its streams"
            )
        factor = self._factor(step, inputs)
        own = held[coupling.stream] = self.arithmetic.undo(held[coupling.stream], factor, out.detach())
        return Again(step, out, given, extra, own if isinstance(step.factor, int) else None)

    def _differentiate(
        self,
        side: Lanes,
        k: int,
        again: Again,
        grads: list[Tensor | None],
        found: list[Tensor | None],
        inputs: Sequence[Tensor],
    ) -> None:
        """Add the gradients of one branch to those of the streams before it and of its parameters."""
        step, coupling = again.step, again.step.coupling
        grad = grads[coupling.stream]
        if grad is None:
            return
        with side.differentiating(k, grads):
            asked = [*again.given, *again.extra, *step.frozen.leaves]
            places = [*coupling.reads, *(place for _, place in self.learning), *step.places]
            parts: Sequence[Tensor | None] = [None] * len(asked)
            if again.out.requires_grad:
                parts = torch.autograd.grad(again.out, asked, grad.to(again.out.dtype), allow_unused=True)
            count = len(again.given)
            if (factor := self._factor(step, inputs)) is not None:
                grads[coupling.stream] = grad * factor
                if isinstance(step.factor, int) and again.own is not None:
                    side.add(found, step.factor, (grad * again.own).sum_to_size(inputs[step.factor].shape))
            for place, part in zip(places[:count], parts[:count]):
                side.add(grads, place, part)
            for place, part in zip(places[count:], parts[count:]):
                side.add(found, place, part)


class _Inverting(torch.autograd.Function):
    """A whole stage as one node of the graph."""

    @staticmethod
    def forward(ctx: Any, run: Pass, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The streams that were changed."""
        ctx.run = run
        ctx.set_materialize_grads(False)
        held, values = run.forward(inputs)
        read = {id(tensor): tensor for step in run.steps for tensor in step.frozen.read}
        read |= {id(leaf): leaf for leaf in run.leaves if isinstance(leaf, Tensor)}
        # Saved so that PyTorch refuses the backward pass when one of them was changed since.
        ctx.count = len(inputs)
        ctx.save_for_backward(*held, *inputs[run.count :], *read.values())
        return tuple(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        """The gradients of the streams, of what else was given and of the parameters."""
        run: Pass = ctx.run
        saved = ctx.saved_tensors
        held, inputs = list(saved[: run.count]), saved[: ctx.count]
        every: list[Tensor | None] = [None] * run.count
        for i, grad in zip(run.changed, grads):
            every[i] = grad
        del saved
        return None, *run.backward(held, inputs, every)


def random_branch(title: str, what: str) -> str:
    """The message for a branch that cannot have fixed-point streams."""
    return (
        f"{title} answers at random ({what} draws), and fixed-point streams need the same answer twice; set its rate "
        "to 0, move it out of the stage, or use streams of floats (fixed_point=False), which repeat what was drawn"
    )
