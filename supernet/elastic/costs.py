"""Exact costs of many architectures at once, from tables, without running anything.

Every cost but the peak is a sum of terms, each a product of sizes: the multiply-adds of a call, the
entries of a parameter. A size is set by a few choices, so a term is a small table over their genes.
Terms over the same choices share one table, and a million architectures a second are looked up.
What is left out of an architecture counts zero, and so do genes that do not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from supernet.elastic.layout import AxisLayout
from supernet.elastic.plan import Plan
from supernet.elastic.slicing import PRESENT
from supernet.elastic.trace import Op
from supernet.errors import ConversionError
from supernet.space import Architecture, Genes, SearchSpace

Counts = NDArray[np.int64]
ENTRIES = 4096
"""Largest table; a term over more combinations is multiplied out for every architecture."""
ROWS = 2048
"""Architectures at a time: what is worked on stays in the cache."""


@dataclass(frozen=True)
class Cost:
    """What one architecture costs, for a batch of one.

    Args:
        macs: multiply-adds of one forward pass.
        params: entries of its parameters.
        weight_bytes: bytes of its parameters and persistent buffers as they are stored.
        peak_activation_bytes: see `Costs.peak_activation_bytes`.
    """

    macs: int
    params: int
    weight_bytes: int
    peak_activation_bytes: int


@dataclass(frozen=True)
class Term:
    """A constant times a product of layouts, zero where one of its switches is off."""

    constant: int
    layouts: tuple[AxisLayout, ...]
    switches: tuple[str, ...] = ()


class Costs:
    """Exact costs of the architectures of a plan.

    Args:
        plan: what each architecture uses.
        ops: the traced calls at one input shape.
        largest: the network the plan is about; only names, shapes and types are read.
        batch: how many inputs the calls were traced with.
        conditions: position of a call to a dim that has to be 1 for it, beside those of its module.

    Raises:
        ConversionError: when a call computes with numbers and nothing says how often it multiplies.
    """

    def __init__(
        self,
        plan: Plan,
        ops: Sequence[Op],
        largest: nn.Module,
        batch: int = 1,
        conditions: Mapping[int, str] | None = None,
    ) -> None:
        unknown = list(dict.fromkeys((op.name, op.module) for op in ops if not op.counted))
        if unknown:
            raise ConversionError(
                f"the costs of this network are not known: nothing says how often {_named(unknown)} multiplies; "
                f"register a rule for the op that notes its multiply-adds, see supernet.elastic.rules_product"
            )
        self.space = plan.space
        self.plan = plan
        self.ops = ops
        self.batch = batch
        self.switches = switches = [_switches(plan, op.module) for op in ops]
        for i, dim in (conditions or {}).items():
            switches[i] += (dim,)
        self._macs = _Sum(plan, _calls(ops, switches))
        self._params = _Sum(plan, _tensors(plan, largest.named_parameters(), of_entry=lambda _: 1))
        kept = largest.state_dict()
        stored = {**dict(largest.named_parameters()), **dict(largest.named_buffers())}
        persistent = ((name, tensor) for name, tensor in stored.items() if name in kept)
        self._bytes = _Sum(plan, _tensors(plan, persistent, of_entry=lambda t: t.element_size()))
        self._peak = _Peak(plan, ops, switches)

    def macs(self, genes: Genes) -> Counts:
        """Multiply-adds of one forward pass of one input, shape ``(architectures,)``.

        Args:
            genes: integers ``(architectures, choices)``.
        """
        return self._macs(genes) // self.batch

    def terms(self, what: Literal["macs", "params"]) -> tuple[Term, ...]:
        """What a cost is the sum of; multiply-adds are those of the whole traced batch."""
        return (self._macs if what == "macs" else self._params).terms

    def params(self, genes: Genes) -> Counts:
        """Entries of the parameters, shape ``(architectures,)``."""
        return self._params(genes)

    def weight_bytes(self, genes: Genes) -> Counts:
        """Bytes of the parameters and persistent buffers, shape ``(architectures,)``."""
        return self._bytes(genes)

    def peak_activation_bytes(self, genes: Genes) -> Counts:
        """Most bytes of results alive at once in inference of one input, shape ``(architectures,)``.

        Calls run one after the other in the order of the trace. A result lives from its call until
        the last call that reads it; views and calls in place need nothing. Results are counted as float32,
        lone numbers not at all. The input and the weights are not counted, nor is what a kernel needs
        inside a call. Where a trace meets candidates side by side, of which an architecture keeps one, their
        sums are counted too: there the peak is an upper bound.
        """
        return self._peak(genes) // self.batch

    def of(self, arch: Architecture) -> Cost:
        """The costs of one architecture.

        Raises:
            ArchitectureError: when it is of another space.
        """
        genes = self.space.matrix([arch])
        return Cost(
            int(self.macs(genes)[0]),
            int(self.params(genes)[0]),
            int(self.weight_bytes(genes)[0]),
            int(self.peak_activation_bytes(genes)[0]),
        )


def _named(unknown: Sequence[tuple[str, str]]) -> str:
    shown = [f"the op {name!r} in {module or 'the network itself'}" for name, module in unknown[:3]]
    return ", ".join(shown) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")


def _calls(ops: Iterable[Op], switches: Iterable[tuple[str, ...]]) -> Iterator[Term]:
    for op, present in zip(ops, switches):
        for layouts in op.macs:
            yield Term(1, layouts, present)


def _tensors(
    plan: Plan, named: Iterable[tuple[str, Tensor]], of_entry: Callable[[Tensor], int]
) -> Iterator[Term]:
    for name, tensor in named:
        if name in plan.matrices or name.rpartition(".")[2] == PRESENT:
            continue
        axes = plan.layouts.get(name, ())
        layouts = [layout for layout in axes if layout is not None]
        whole = [size for axis, size in enumerate(tensor.shape) if axis >= len(axes) or axes[axis] is None]
        if name in plan.kernels:
            layouts += [plan.kernels[name].layout] * (tensor.dim() - 2)
            whole = [
                size for axis, size in enumerate(tensor.shape[:2]) if axis >= len(axes) or axes[axis] is None
            ]
        yield Term(of_entry(tensor) * prod(whole), tuple(layouts), _switches(plan, name))


def _switches(plan: Plan, name: str) -> tuple[str, ...]:
    """The dims that have to be present for the module or tensor of that name."""
    return tuple(dim for path, dim in plan.switches.items() if name == path or name.startswith(f"{path}."))


class _Sum:
    """A sum of terms over the genes of many architectures: table look-ups where tables are small."""

    def __init__(self, plan: Plan, terms: Iterable[Term]) -> None:
        self.plan = plan
        self.terms = terms = tuple(terms)
        self.constant = 0
        self.tables: list[tuple[tuple[tuple[int, int], ...], Counts]] = []
        self.large: list[Term] = []
        by_choices: dict[tuple[int, ...], list[Term]] = {}
        for term in terms:
            by_choices.setdefault(_choices(plan, term), []).append(term)
        for choices, group in _merged(plan.space, by_choices).items():
            if not choices:
                self.constant = int(_total(plan, group, np.zeros((1, len(plan.space)), dtype=np.int64))[0])
            elif _combinations(plan.space, choices) > ENTRIES:
                self.large += group
            else:
                self.tables.append(_table(plan, choices, group))

    def __call__(self, genes: Genes) -> Counts:
        counts = np.full(len(genes), self.constant, dtype=np.int64)
        for start in range(0, len(genes), ROWS):
            chunk = genes[start : start + ROWS]
            columns = np.ascontiguousarray(chunk.T, dtype=np.int64)
            for weights, table in self.tables:
                index = columns[weights[0][0]] * weights[0][1]
                for choice, weight in weights[1:]:
                    index += columns[choice] if weight == 1 else columns[choice] * weight
                counts[start : start + ROWS] += table.take(index)
            if self.large:
                counts[start : start + ROWS] += _total(
                    self.plan, self.large, self.plan.space.canonical(chunk)
                )
        return counts


def _choices(plan: Plan, term: Term) -> tuple[int, ...]:
    """The genes a term depends on, and those that say whether these matter."""
    dims = {dim for layout in term.layouts for dim in layout.dims}
    found: set[int] = set()
    waiting = [name for dim in dims | set(term.switches) for name in plan.dims[dim].by]
    while waiting:
        name = waiting.pop()
        needs = plan.space[name].needs
        found.add(plan.space.index(name))
        waiting += [needs[0]] if needs else []
    return tuple(sorted(found))


def _combinations(space: SearchSpace, choices: Iterable[int]) -> int:
    return prod(len(space.choices[i].values) for i in choices)


def _merged(
    space: SearchSpace, by_choices: Mapping[tuple[int, ...], list[Term]]
) -> dict[tuple[int, ...], list[Term]]:
    """Fewer, larger sets of choices: one look-up takes as long in a table of thousands as in one of three."""
    merged: dict[tuple[int, ...], list[Term]] = {}
    for choices in sorted(by_choices, key=lambda c: (-len(c), c)):
        if choices and _combinations(space, choices) <= ENTRIES:
            joined = [c for c in merged if c and _combinations(space, {*c, *choices}) <= ENTRIES]
            if joined:
                most = max(joined, key=lambda c: len({*c} & {*choices}))
                both = tuple(sorted({*most, *choices}))
                merged[both] = (
                    merged.pop(most) + by_choices[choices] + (merged.pop(both, []) if both != most else [])
                )
                continue
        merged[choices] = merged.get(choices, []) + by_choices[choices]
    return merged


def _table(
    plan: Plan, choices: tuple[int, ...], terms: Iterable[Term]
) -> tuple[tuple[tuple[int, int], ...], Counts]:
    shape = tuple(len(plan.space.choices[i].values) for i in choices)
    grid = np.zeros((prod(shape), len(plan.space)), dtype=np.int64)
    grid[:, choices] = np.indices(shape).reshape(len(shape), -1).T
    weights = tuple((choice, prod(shape[i + 1 :])) for i, choice in enumerate(choices))
    return weights, _total(plan, terms, plan.space.canonical(grid))


def _total(plan: Plan, terms: Iterable[Term], genes: Genes) -> Counts:
    """The sum of terms, multiplied out for each canonical genome."""
    sizes = _Sizes(plan, genes)
    total = np.zeros(len(genes), dtype=np.int64)
    for term in terms:
        product = np.full(len(genes), term.constant, dtype=np.int64)
        for layout in term.layouts:
            product *= sizes.length(layout)
        for switch in term.switches:
            product *= sizes.of(switch)
        total += product
    return total


class _Sizes:
    """The sizes of the dims for many genomes, each looked up once."""

    def __init__(self, plan: Plan, genes: Genes) -> None:
        self.plan = plan
        self.genes = genes
        self._known: dict[str, Counts] = {}

    def of(self, name: str) -> Counts:
        """Sizes of one dim, ``(architectures,)``."""
        if name not in self._known:
            dim = self.plan.dims[name]
            columns = tuple(self.genes[:, self.plan.space.index(choice)] for choice in dim.by)
            self._known[name] = dim.table[columns] if columns else np.full(len(self.genes), int(dim.table))
        return self._known[name]

    def length(self, layout: AxisLayout) -> Counts | int:
        """Entries of an axis of this layout, ``(architectures,)``."""
        total: Counts | int = 0
        for run in layout:
            product: Counts | int = 1
            for factor in run:
                product = product * (factor if isinstance(factor, int) else self.of(factor))
            total = total + product
        return total


def sizes_of(costs: Costs, arch: Architecture) -> _Sizes:
    """The sizes of every dim for one architecture, as columns of one entry."""
    return _Sizes(costs.plan, costs.space.matrix([arch]))


def sizes_at(costs: Costs, genes: Genes) -> _Sizes:
    """The sizes of every dim for many genomes, which need not be canonical."""
    return _Sizes(costs.plan, genes)


class _Peak:
    """The most bytes alive at once, call by call."""

    def __init__(self, plan: Plan, ops: Sequence[Op], switches: Sequence[tuple[str, ...]]) -> None:
        self.plan = plan
        self.ops = ops
        self.switches = switches
        self.passes = passes_on(plan, ops)

    def __call__(self, genes: Genes) -> Counts:
        parts = [genes[start : start + ROWS] for start in range(0, len(genes), ROWS)]
        return np.concatenate([self._peak(part) for part in parts] or [np.zeros(0, dtype=np.int64)])

    def _peak(self, genes: Genes) -> Counts:
        sizes = _Sizes(self.plan, self.plan.space.canonical(genes))
        steps, rows = len(self.ops), np.arange(len(genes))
        last = np.tile(np.arange(steps)[:, None], (1, len(genes)))
        change = np.zeros((steps + 1, len(genes)), dtype=np.int64)
        for i in reversed(range(steps)):
            op = self.ops[i]
            runs = np.ones(len(genes), dtype=np.bool_)
            for switch in self.switches[i]:
                runs &= sizes.of(switch).astype(np.bool_)
            for source in op.inputs:
                np.maximum(last[source], i, out=last[source], where=runs)
            if op.alias is not None and op.alias >= 0:
                # A view keeps what it looks at as long as it is read itself.
                np.maximum(last[op.alias], last[i], out=last[op.alias], where=runs)
            for switch, passed in self.passes.get(i, ()):
                np.maximum(last[passed], last[i], out=last[passed], where=sizes.of(switch) == 0)
            if op.alias is None and op.shape:
                size = np.where(runs, 4 * prod(sizes.length(layout) for layout in op.shape), 0)
                # What one call makes several of is there before each is taken out by a `getitem`.
                change[op.inputs[0] if op.name == "getitem" else i] += size
                change[last[i] + 1, rows] -= size
        peak: Counts = np.cumsum(change, axis=0).max(axis=0)
        return peak


def passes_on(plan: Plan, ops: Sequence[Op]) -> dict[int, list[tuple[str, int]]]:
    """For the last call of a module that can be left out: its switch, and whose result passes on instead."""
    passes: dict[int, list[tuple[str, int]]] = {}
    for path, switch in plan.switches.items():
        inside = [i for i, op in enumerate(ops) if op.module == path or op.module.startswith(f"{path}.")]
        # A module that is called twice, or traced at several resolutions, has several runs of calls.
        for _, run in groupby(enumerate(inside), key=lambda pair: pair[1] - pair[0]):
            calls = [i for _, i in run]
            sources = [j for i in calls for j in ops[i].inputs if j not in calls]
            same = [j for j in sources if ops[j].shape == ops[calls[-1]].shape]
            if sources:
                passes.setdefault(calls[-1], []).append((switch, (same or sources)[0]))
    return passes


def tally(
    plan: Plan, tensors: Sequence[tuple[str, Tensor]]
) -> tuple[Callable[[Genes], Counts], Callable[[Genes], Counts]]:
    """Of some tensors of a network, by name: how many entries they have together, and how many of them are there.

    Both are functions of genes ``(architectures, choices)``, as the costs are.
    """
    there = (Term(1, (), _switches(plan, name)) for name, _ in tensors)
    return _Sum(plan, _tensors(plan, tensors, of_entry=lambda _: 1)), _Sum(plan, there)
