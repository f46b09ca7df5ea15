"""Every group is checked before it may be elastic: the cut network against the masked one.

The masked network is the whole one with the entries that a cut drops set to zero; norms that run
over an elastic size are taken over the entries that are left. If a cut is a cut of the network, both
give the same. A group for which they do not is fixed, and the reason says what was seen.

The check runs on a copy with randomised weights (random statistics, no zero gammas) in double
precision, so that a difference is a difference and not rounding (very large networks: in single); the
network itself is not touched.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import gcd, prod

import torch
from torch import Tensor, nn

from supernet.elastic.decisions import Ask, Tables, undecided
from supernet.elastic.failing import apart, failing
from supernet.elastic.following import Following
from supernet.elastic.inputs import Inputs
from supernet.elastic.layout import Sizes, centre
from supernet.elastic.live import Masked, reductions
from supernet.elastic.plan import Plan, SizeAttribute
from supernet.elastic.planning import free_plan
from supernet.elastic.skeleton import bind, make_elastic
from supernet.elastic.slicing import Slices, named_tensors
from supernet.elastic.trace import Group, Trace
from supernet.elastic.trial import Failed, Said, Trial
from supernet.elastic.visible import seen
from supernet.elastic.watching import Question

log = logging.getLogger(__name__)

UNSEEN = "cutting it changes nothing that can be seen"
SMALL_MAPS = f"{UNSEEN}: the example's maps are smaller than the kernel"
Cuts = Callable[[Trace, Sequence[str]], Sequence[Sizes]]


@dataclass(frozen=True)
class Verification:
    """What the check found.

    Args:
        trace: the given one, in which sizes that only hold together are one group.
        live: groups that hold.
        fixed: groups that do not, with the reason.
        size_attributes: integers of modules that have to follow.
        modes: whether in training, of each run that was looked at.
        trained: whether they hold in training too; False where the network does not train as it is
            called, or is random then.
    """

    trace: Trace
    live: tuple[str, ...]
    fixed: dict[str, str]
    size_attributes: tuple[SizeAttribute, ...]
    modes: tuple[bool, ...] = (False,)
    trained: bool = False


def verify(
    model: nn.Module,
    trace: Trace,
    example: Inputs | Tensor,
    live: Sequence[str],
    cuts: Cuts,
    tables: Callable[[Trace, Sequence[str]], Tables] | None = None,
) -> Verification:
    """Check all groups together at every cut, and look for those that fail only when they do.

    Args:
        model: the largest network, plain.
        trace: of that network.
        example: inputs as it takes them; one image is enough.
        live: names of the groups to check.
        cuts: from a trace and live groups, tables of the units to keep; e.g. the fewest, and some.
        tables: from the same, all numbers of units a group can have: so that no comparison of sizes in
            the network's code goes otherwise in any of them.
    """
    check = Check(model, trace, example)
    names, first = list(live), cuts(trace, live)
    size_attributes = check.size_attributes(names, first[0])
    fixed = check.failing(names, first[0], size_attributes)
    fixed |= check.clashing(names, first[0], size_attributes, fixed)
    for together in _partners(trace, fixed):
        together = [name for name in together if name in check.trace.groups]
        tied = check.tied(together) if together and together[0] in fixed else None
        if tied is None:
            continue
        size_attributes = [*size_attributes, *tied]
        fixed = {name: why for name, why in fixed.items() if name not in together}
        names = [name for name in names if name not in together[1:]]
    names = [name for name in names if name not in fixed]
    last = cuts(check.trace, names)
    for name in check.unseen(names, last[0]):
        fixed[name] = SMALL_MAPS if check.trace.groups[name].kind == "kernel" else UNSEEN
    # A group may have held only beside one that was fixed after it: so until nothing more is found.
    before = -1
    while before < len(fixed):
        before = len(fixed)
        for cut in last:
            for training in check.trial.modes:
                left = [name for name in names if name not in fixed]
                fixed |= check.failing(left, cut, size_attributes, training)
        fixed |= check.clashing(names, last[0], size_attributes, fixed)
        for training in check.trial.modes if tables is not None else ():
            left = [name for name in names if name not in fixed]
            assert tables is not None
            fixed |= undecided(check.asking(left, size_attributes, training), tables(check.trace, left))
    for name, why in fixed.items():
        log.info("fixed: %s: %s", name, why)
    alive = [name for name in names if name not in fixed]
    needed = tuple(check.needed(size_attributes, alive))
    return Verification(check.trace, tuple(alive), fixed, needed, check.trial.modes, check.trial.trains)


def _partners(trace: Trace, fixed: Container[str]) -> Iterator[list[str]]:
    """Streams that do not hold, each with what does not inside their blocks: first heads, then all.

    Much code shapes the result of its attention like its input, or keeps one integer for both; such
    sizes can only move in proportion.
    """
    for name, group in trace.groups.items():
        if name not in fixed or group.kind not in ("residual", "heads"):
            continue
        tensors = {tensor for tensor, _ in group.members}
        others = [
            other
            for other in trace.groups.values()
            if other.name in fixed
            and _home(other) > _home(group)
            and tensors & {tensor for tensor, _ in other.members}
        ]
        heads = [other.name for other in others if other.kind == "heads"]
        if heads:
            yield [name, *heads]
        if len(heads) < len(others):
            yield [name, *(other.name for other in others)]


def _side_by_side(trace: Trace, names: Iterable[str]) -> Iterator[set[str]]:
    """The groups of the layers of each module, the module that holds a layer being the place it is used in."""
    places: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for name in names:
        for tensor, _ in trace.groups[name].members:
            places[tuple(tensor.split(".")[:-2])].add(name)
    yield from places.values()


def _home(group: Group) -> int:
    """How deep the module lies that holds everything of a group."""
    steps = zip(*(tensor.split(".")[:-1] for tensor, _ in group.members))
    return sum(1 for _ in takewhile(lambda step: len(set(step)) == 1, steps))


class Check:
    """Compares cut and masked networks that share one randomised copy of the weights."""

    def __init__(self, model: nn.Module, trace: Trace, example: Inputs | Tensor) -> None:
        self._follow(trace)
        self.trial = Trial(model, Inputs.of(example), _macs(trace), len(trace.ops))
        self.model = self.trial.model

    def _follow(self, trace: Trace) -> None:
        """Take the sizes of another trace; what is known about those of the last one is forgotten."""
        self.trace = trace
        self.known: dict[Hashable, str | None] = {}
        self.last: tuple[Hashable, Said | None] | None = None

    def difference(
        self,
        names: Sequence[str],
        cut: Sizes,
        size_attributes: Sequence[SizeAttribute],
        training: bool = False,
    ) -> str | None:
        """What is wrong when only these groups are cut; None when nothing is."""
        size_attributes = self.needed(size_attributes, names)
        plan = free_plan(self.model, self.trace, names, size_attributes)
        sizes = {name: cut.get(name, dim.full) for name, dim in plan.dims.items()}
        key = frozenset(sizes.items()), tuple(size_attributes), training
        if key not in self.known:
            self.known[key] = self._difference(plan, sizes, training)
        return self.known[key]

    def fails(self, names: Sequence[str], cut: Sizes, size_attributes: Sequence[SizeAttribute]) -> str | None:
        """Why the network does not run when only these groups are cut; nothing is computed for that."""
        plan = free_plan(self.model, self.trace, names, self.needed(size_attributes, names))
        bound = self._cut(plan, {name: cut.get(name, dim.full) for name, dim in plan.dims.items()}, False)
        try:
            self.trial.run_without_numbers(bound)
        except Failed as error:
            return str(error)
        return None

    def _cut(self, plan: Plan, sizes: Sizes, training: bool) -> nn.Module:
        skeleton = make_elastic(bind(self.model, Slices({}, frozenset())), plan)
        return self.trial.bound(skeleton, plan.slices_at(skeleton, sizes), training)

    def _difference(self, plan: Plan, sizes: Sizes, training: bool) -> str | None:
        bound = self._cut(plan, sizes, training)
        try:
            if self.trial.single:
                self.trial.run_without_numbers(bound, training)
            sliced = self.trial.run(bound, training)
        except Failed as error:
            return f"the cut network fails: {error}"
        masked = self.masked(plan, sizes, training)
        if masked is None:
            return "the network takes other means than the traced one"
        if len(sliced.tensors) != len(masked.tensors) or any(
            a.shape != b.shape for a, b in zip(sliced.tensors, masked.tensors)
        ):
            return "the cut network answers in another shape"
        worst = max(map(_relative, sliced.tensors, masked.tensors))
        if not worst <= self.trial.tolerance:
            return f"sliced differs from masked by {worst:.2g} of its largest answer"
        return masked.watched.differs(sliced.watched)

    def masked(self, plan: Plan, sizes: Sizes, training: bool = False) -> Said | None:
        """What the whole network says when everything a cut drops is zero; the last answer is remembered.

        None when it takes means that the trace did not see.
        """
        key = frozenset(sizes.items()), training
        if self.last is None or self.last[0] != key:
            bound = self.trial.bound(self.model, Slices({}, frozenset()), training)
            # Held until the run is over: a network may rebind a buffer, and another tensor take its identity.
            held = list(named_tensors(bound))
            masks = {
                id(tensor): mask(tensor, plan, name, sizes)
                for name, tensor in held
                if (name in plan.layouts or name in plan.kernels)
                and tensor.is_floating_point()
                and not name.endswith("running_var")
            }
            over = Masked(masks, reductions(self.trace, plan, sizes))
            said = self.trial.run(bound, training, over)
            del held
            self.last = key, None if over.missed() else said
        return self.last[1]

    def asking(self, names: Sequence[str], size_attributes: Sequence[SizeAttribute], training: bool) -> Ask:
        """A function from the units of these groups to what the network compares when it is cut like that."""
        plan = free_plan(self.model, self.trace, names, self.needed(size_attributes, names))
        skeleton = make_elastic(bind(self.model, Slices({}, frozenset())), plan)

        def ask(sizes: Sizes) -> Sequence[Question]:
            """What the network compares, cut to these sizes."""
            slices = plan.slices_at(skeleton, {**plan.full, **sizes})
            try:
                bound = self.trial.bound(skeleton, slices, training)
                return self.trial.run_without_numbers(bound, training).watched.questions
            except Failed:
                return ()

        return ask

    def unseen(self, names: Sequence[str], cut: Sizes) -> list[str]:
        """The groups of which the cut changes nothing in the answer, be it in evaluation or in training."""
        plan = free_plan(self.model, self.trace, names)
        left = [name for name in names if cut.get(name, plan.full[name]) < plan.full[name]]
        for training in self.trial.modes:
            visible = seen(self.trial, plan, left, cut, training) if left else set()
            for name in left:
                if name not in visible and self._changes(name, cut, training):
                    visible.add(name)
            left = [name for name in left if name not in visible]
        return left

    def _changes(self, name: str, cut: Sizes, training: bool) -> bool:
        plan = free_plan(self.model, self.trace, [name])
        masked = self.masked(plan, {name: cut.get(name, plan.full[name])}, training)
        whole = self.trial.whole_in(training)
        if masked is None:
            return True
        return max(map(_relative, masked.tensors, whole.tensors)) > self.trial.tolerance

    def tied(self, names: list[str]) -> list[SizeAttribute] | None:
        """Make the first group stand for all of them, in proportion, when they hold like that.

        Returns:
            The integers that have to follow; None when they do not hold together either.
        """
        before, size = self.trace, gcd(*(self.trace.groups[name].size for name in names))
        if size < 2:
            return None
        self._follow(before.tied(names, size))
        cut = {names[0]: max(1, size // 2)}
        size_attributes = self.size_attributes(names[:1], cut)
        if self.difference(names[:1], cut, size_attributes) is None:
            return size_attributes
        self._follow(before)
        return None

    def failing(
        self, names: list[str], cut: Sizes, size_attributes: Sequence[SizeAttribute], training: bool = False
    ) -> dict[str, str]:
        """The groups of ``names`` to fix so that the rest holds together, with reasons."""
        return failing(
            names,
            lambda some: self.difference(some, cut, size_attributes, training),
            lambda name: _family(self.trace, self.trace.groups[name]),
        )

    def clashing(
        self,
        names: Iterable[str],
        cut: Sizes,
        size_attributes: Sequence[SizeAttribute],
        without: Container[str],
    ) -> dict[str, str]:
        """The groups that hold only as long as one beside them is cut as well, with reasons."""
        left = [name for name in names if name not in without]
        fixed: dict[str, str] = {}
        for some in apart(left, _side_by_side(self.trace, left)):
            fixed |= self.failing([name for name in some if name not in fixed], cut, size_attributes)
        return fixed

    def size_attributes(self, names: list[str], cut: Sizes) -> list[SizeAttribute]:
        """The integers that have to follow these groups."""
        return Following(
            self.model,
            self.trace,
            names,
            fails=lambda some, size_attributes: self.fails(some, cut, size_attributes),
            wrong=lambda some, size_attributes: self.difference(some, cut, size_attributes),
        ).size_attributes()

    def needed(self, size_attributes: Iterable[SizeAttribute], live: Iterable[str]) -> list[SizeAttribute]:
        """Readings of tensors that are still cut."""
        plan = free_plan(self.model, self.trace, live)
        cut = {
            (name, axis) for name, axes in plan.layouts.items() for axis, layout in enumerate(axes) if layout
        }
        return [r for r in size_attributes if (f"{r.module}.{r.tensor}".lstrip("."), r.axis) in cut]


def mask(tensor: Tensor, plan: Plan, name: str, sizes: Sizes) -> Tensor:
    """Ones where a slice keeps an entry, zeros elsewhere; broadcasts over ``tensor``."""
    kept = tensor.new_ones([1] * tensor.dim())
    for axis, layout in enumerate(plan.layouts.get(name, ())):
        if layout is not None:
            line = layout.kept(sizes, plan.full, like=kept)
            kept = kept * line.view([-1 if i == axis else 1 for i in range(tensor.dim())])
    if name in plan.kernels:
        square = torch.zeros_like(tensor)
        centre(square, sizes[plan.kernels[name].dim]).fill_(1)
        kept = kept * square
    return kept


def _macs(trace: Trace) -> int:
    """Multiply-adds of the whole network for the example."""
    return sum(prod(layout.length(trace.sizes) for layout in part) for op in trace.ops for part in op.macs)


def _family(trace: Trace, group: Group) -> Hashable:
    """What the groups of one kind of block have in common: kind, sizes, and names up to their numbers."""
    members = frozenset(
        (re.sub(r"\d+", "#", tensor), axis, len(trace.layouts[tensor][axis]))
        for tensor, axis in group.members
    )
    return group.kind, group.size, group.channels, members


def _relative(a: Tensor, b: Tensor) -> float:
    if a.numel() == 0:
        return 0.0
    return float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp_min(1e-30))
