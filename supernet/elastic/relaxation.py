"""A relaxation: a weight for every value of some choices, accepted where an architecture is.

``supernet(x, relaxation)`` runs all candidates and mixes what they answer; with the weights of one value at 1 and all
others at 0 it is that architecture. The weights are ordinary tensors of whoever made them (a softmax of logits, a
sample), travel like the slices of an architecture, in the copy that is bound for the call, and gradients reach
them. The shared network remembers nothing, so a pass that is recomputed finds its own.

What can be relaxed are choices of one candidate among the children of a module, or of a set of them: the edges that
come into a node of a cell, written ``"0+2"``, have a weight each and not one for every set. Widths and kernel sizes
can be relaxed too, see `supernet.elastic.blending`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from supernet.elastic.blending import Blend, Blending
from supernet.elastic.plan import Plan
from supernet.elastic.slicing import MIXTURE, Slices
from supernet.errors import ArchitectureError, did_you_mean
from supernet.space import Architecture, Choice, Value

TOGETHER = "+"
"""Between the members of a value that is a set."""


@dataclass(frozen=True, eq=False)
class Relaxation:
    """Weights per choice.

    Args:
        weights: name of a choice to one weight for each of its values ``(values,)``, or for each member where its
            values are sets; they need not sum to one.
        arch: what all other choices are.
        only_active: whether candidates of weight zero are left out altogether, and no gradient reaches their weights
            (GDAS); else they are asked in the backward pass what theirs would be (ProxylessNAS).
        blend: how widths are mixed, where weights are theirs.
    """

    weights: Mapping[str, Tensor]
    arch: Architecture
    only_active: bool = False
    blend: Blend = "masked"

    @property
    def id(self) -> str:
        """How it is named where architectures are."""
        return f"a relaxation of {len(self.weights)} choices"

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True)
class Candidates:
    """The children of one module that a choice is about.

    Args:
        path: of the module.
        choice: by which its children are there.
        dims: of the plan, that say so: one for each child.
        rows: for each child, and once more where the input may pass on, which weights of the choice it adds up.
    """

    path: str
    choice: str
    dims: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]

    def weights(self, of_choice: Tensor) -> Tensor:
        """A weight for each child from those of the choice."""
        count = len(self.rows)
        if count == len(of_choice) and all(row[i] == 1 == sum(row) for i, row in enumerate(self.rows)):
            return of_choice
        return of_choice.new_tensor(self.rows) @ of_choice


class Relaxable:
    """What can be relaxed of a supernet.

    Args:
        plan: what an architecture uses.
        largest: the network it is about.
    """

    def __init__(self, plan: Plan, largest: nn.Module) -> None:
        self.plan, self.space = plan, plan.space
        self.candidates = tuple(_candidates(plan, largest))
        self._largest = largest

    @cached_property
    def members(self) -> dict[str, tuple[Value, ...]]:
        """Of each choice that can be relaxed, what its weights belong to: its values, or the members of its sets."""
        asked = {one.choice for one in self.candidates}
        return {choice.name: members(choice) for choice in self.space.choices if choice.name in asked}

    @cached_property
    def blending(self) -> Blending:
        """The choices of sizes that can be relaxed: ``blending.values``."""
        return Blending(self.plan, self._largest, frozenset(one.choice for one in self.candidates))

    def entries(self, choice: str) -> tuple[Value, ...]:
        """What the weights of a choice belong to.

        Raises:
            ArchitectureError: for a choice that can not be relaxed.
        """
        if choice in self.members:
            return self.members[choice]
        sizes = self.blending.values
        if choice not in sizes:
            known = ", ".join([*self.members, *sizes][:4]) or "none"
            more = ", ..." if len(self.members) + len(sizes) > 4 else ""
            raise ArchitectureError(
                f"{choice!r} can not be relaxed{did_you_mean(choice, [*self.members, *sizes])}; choices that can: "
                f"{known}{more}"
            )
        return sizes[choice]

    def parent(self, choice: str) -> tuple[str, int] | None:
        """Where a choice only matters with one member of a set: the choice of the set, and which member."""
        needs = self.space[choice].needs
        if needs is None or needs[0] not in self.members or not is_set(self.space[needs[0]]):
            return None
        name, values = needs
        common = set.intersection(*(set(str(value).split(TOGETHER)) for value in values))
        siblings = [c.name for c in self.space.choices if c.needs is not None and c.needs[0] == name]
        named = [str(member) for member in self.members[name]]
        return name, named.index(common.pop()) if len(common) == 1 else siblings.index(choice)

    def slices(self, relaxation: Relaxation, largest: nn.Module) -> Slices:
        """What a mixture uses: every candidate of the relaxed choices, and their weights.

        Raises:
            ArchitectureError: for a choice that can not be relaxed, or weights of another number.
        """
        self.check(relaxation)
        sizes = self.plan.sizes(relaxation.arch)
        weights = self.of_children(relaxation)
        for one in self.candidates:
            if one.path in weights:
                sizes |= dict.fromkeys(one.dims, 1)
                if relaxation.only_active:
                    there = [int(weight != 0) for weight in weights[one.path].tolist()]
                    # One candidate says of what shape nothing is.
                    there[0] |= not any(there)
                    sizes |= zip(one.dims, there)
                    if not there[-1]:
                        weights[one.path] = weights[one.path][: len(one.dims)]
        mixed = {name: one for name, one in relaxation.weights.items() if name not in self.members}
        if mixed:
            every = not relaxation.only_active and relaxation.blend == "masked"
            sizes |= self.blending.sizes(mixed, every)
        slices = self.plan.slices_at(largest, sizes)
        tensors = slices.tensors | {f"{path}.{MIXTURE}": tensor for path, tensor in weights.items()}
        if mixed:
            tensors |= self.blending.blended(mixed, relaxation.blend, slices.tensors)
        return Slices(tensors, slices.absent, slices.copies)

    def of_children(self, relaxation: Relaxation) -> dict[str, Tensor]:
        """The weights of the children of every module that is relaxed, by its path."""
        known: dict[tuple[str, tuple[tuple[float, ...], ...]], Tensor] = {}
        out: dict[str, Tensor] = {}
        for one in self.candidates:
            if (of_choice := relaxation.weights.get(one.choice)) is not None:
                key = one.choice, one.rows
                if key not in known:
                    known[key] = one.weights(of_choice)
                out[one.path] = known[key]
        return out

    def check(self, relaxation: Relaxation) -> None:
        """Refuse weights that fit no choice.

        Raises:
            ArchitectureError: naming the choice, and what could be relaxed.
        """
        for name, weights in relaxation.weights.items():
            if weights.shape != (len(entries := self.entries(name)),):
                raise ArchitectureError(
                    f"{name!r} was given weights of shape {tuple(weights.shape)}; it has one for each of {entries}"
                )

    def one_hot(self, arch: Architecture, like: Tensor | None = None) -> Relaxation:
        """The relaxation that is an architecture: ones where it has chosen, zeros elsewhere.

        Args:
            arch: a point of the space.
            like: of whose dtype and device the weights are.
        """
        values = self.space.decode(arch)
        like = torch.zeros(()) if like is None else like
        return Relaxation(
            {
                name: like.new_tensor(
                    [float(_holds(self.space[name], values.get(name), one)) for one in entries]
                )
                for name, entries in self.members.items()
            },
            arch,
        )

    def leaning(self, relaxation: Relaxation) -> Architecture:
        """The architecture that a relaxation leans to: of each choice the value of most weight.

        A member of a set weighs what it has itself times the most that a choice has that needs it: of the edges of a
        node those two with the strongest operation are kept (DARTS, arXiv:1806.09055).
        """
        self.check(relaxation)
        weights = {name: tensor.detach().double().tolist() for name, tensor in relaxation.weights.items()}
        strongest = {self.parent(name): max(values) for name, values in weights.items()}
        genes = list(relaxation.arch.genes)
        for name, values in weights.items():
            choice, entries = self.space[name], self.entries(name)
            if is_set(choice):
                own = {
                    str(m): w * strongest.get((name, i), 1.0) for i, (m, w) in enumerate(zip(entries, values))
                }
                values = [sum(own[m] for m in str(value).split(TOGETHER)) for value in choice.values]
            genes[self.space.index(name)] = int(np.argmax(values))
        return self.space.architecture(genes)


def is_set(choice: Choice) -> bool:
    """Whether the values of a choice are sets."""
    return any(TOGETHER in str(value) for value in choice.values)


def members(choice: Choice) -> tuple[Value, ...]:
    """The values of a choice, or the members of those that are sets, in order."""
    if not is_set(choice):
        return choice.values
    found = {member for value in choice.values for member in str(value).split(TOGETHER)}
    return tuple(sorted(found, key=lambda member: (len(member), member)))


def _holds(choice: Choice, value: Value | None, member: Value) -> bool:
    if value is None or not is_set(choice):
        return value == member
    return str(member) in str(value).split(TOGETHER)


def _candidates(plan: Plan, largest: nn.Module) -> list[Candidates]:
    """The modules whose children are there by one choice."""
    children: dict[str, list[str]] = {}
    for path in plan.switches:
        children.setdefault(path.rpartition(".")[0], []).append(path)
    found = []
    for path, paths in children.items():
        module = largest.get_submodule(path)
        dims = [plan.dims[plan.switches[child]] for child in paths]
        choices = {dim.by for dim in dims}
        if MIXTURE not in module._buffers or len(choices) != 1 or len(dims[0].by) != 1:
            continue
        if [f"{path}.{name}" for name in module._modules] != paths:
            continue
        choice = plan.space[dims[0].by[0]]
        rows = _rows(choice, [dim.table.tolist() for dim in dims])
        if rows is not None:
            found.append(Candidates(path, choice.name, tuple(dim.name for dim in dims), rows))
    # A choice that also says something else is no mixture: a width, or how many of several paths are summed.
    known = {dim for one in found for dim in one.dims}
    mixed_up = {choice for dim in plan.dims.values() if dim.name not in known for choice in dim.by}
    return [one for one in found if one.choice not in mixed_up]


def _rows(choice: Choice, tables: Sequence[Sequence[int]]) -> tuple[tuple[float, ...], ...] | None:
    """Which weights each child adds up; None where the sets of a choice are not sets of the children."""
    if is_set(choice):
        entries = members(choice)
        expected = [[int(_holds(choice, value, one)) for value in choice.values] for one in entries]
        if expected != [list(table) for table in tables]:
            return None
        return tuple(tuple(float(i == j) for j in range(len(entries))) for i in range(len(entries)))
    rows = [tuple(float(entry) for entry in table) for table in tables]
    rest = tuple(1.0 - sum(column) for column in zip(*rows))
    return tuple(rows) if not any(rest) else (*rows, rest)
