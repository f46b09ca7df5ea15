"""Auto: the fastest choice of modes whose training step stays within a number of bytes.

Every piece of the network (its blocks, and what is beside them) is measured once in every mode, on the real inputs.
Which mode each piece gets is then a small exact search, and the choice is verified: its real step is measured, and the
search told how far it was off, until the step fits. That is done twice, the second time in a network that is ``fused``
as a whole, where what lies between its pieces is made again too; of the two plans the one is taken whose step is
faster. It is a mapping like any other.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from supernet.errors import ConfigError
from supernet.memory.measuring import Cost, costs, peak_bytes, step_seconds
from supernet.memory.modes import Execution
from supernet.memory.pieces import planned_paths, running
from supernet.memory.sizes import words_of
from supernet.reversible import ReversibleStage

log = logging.getLogger(__name__)
N = TypeVar("N")

CANDIDATES = ("plain", "fused", "checkpoint", "checkpoint_fused")
"""Exact modes that work on every network."""
TRIES = 12
"""How often a plan is measured and the search told by how much it was off."""
CLOSE = 0.95
"""Share of a budget that a plan should use: one that uses less might be faster."""
CLEAR = 0.98
"""A step that takes at most so many times as long as another is faster; within that it may be luck."""
STATES = 4000
"""Partial plans that the search keeps; more than that are thinned out."""


Table = Mapping[str, Mapping[str, Cost]]
"""What each piece costs in each mode, by path, in the order in which they run."""


@dataclass(frozen=True)
class Plan:
    """A choice of modes and what it was measured to need.

    Args:
        execution: mode by module path; what is not named is plain.
        budget: bytes that were asked for.
        peak: bytes that its step holds at most, as measured.
        seconds: that its pieces take, as measured one by one, over those of the plain network.
    """

    execution: dict[str, str]
    budget: int
    peak: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint; ``Plan(**document)`` reads it back."""
        return asdict(self)

    def __str__(self) -> str:
        around = self.execution.get("")
        counts = Counter(mode for path, mode in self.execution.items() if path)
        said = ", ".join(f"{count} in {mode}" for mode, count in sorted(counts.items()))
        if around:
            said = f"{said}, the others in {around}" if said else f"all of it in {around}"
        return (
            f"{words_of(self.peak)} of {words_of(self.budget)} needed at {self.seconds:.2f} times the time of plain: "
            f"{said or 'every piece in plain'}"
        )


@dataclass(frozen=True)
class Subject(Generic[N]):
    """What a plan is made for.

    Args:
        make: a copy of the network in an execution, and a new one at every call.
        run: runs such a copy on what is learnt from.
        step: a whole training step with such a copy; afterwards gradients are as before.
        device: where all of it happens.
        network: of such a copy, whose modules the plan names.
    """

    make: Callable[[Execution], N]
    run: Callable[[N], object]
    step: Callable[[N], object]
    device: torch.device
    network: Callable[[N], nn.Module]

    def peak(self, execution: Execution) -> int:
        """The most bytes that a step holds."""
        network = self.make(execution)
        self.step(network)
        return peak_bytes(lambda: self.step(network), self.device)

    def seconds(self, executions: Sequence[Execution]) -> list[float]:
        """What a step takes in each, after one that is not counted."""
        networks = [self.make(execution) for execution in executions]
        for network in networks:
            self.step(network)
        return step_seconds([partial(self.step, network) for network in networks], self.device)


def plan(subject: Subject[N], budget: int, table: Table | None = None) -> Plan:
    """The fastest plan that is within a budget, measured to be so.

    Args:
        subject: the network and what a step with it is.
        budget: bytes that a step may hold above what was held before it.
        table: from `measured`, where it was done before.

    Raises:
        ConfigError: when no plan is within the budget; the message says what the smallest one needs.
    """
    if (peak := subject.peak("plain")) <= budget:
        return Plan({}, budget, peak, 1.0)
    table = table or measured(subject)
    whole = _seconds(table, {})
    tried = [_Trying(subject, view, base, budget) for base, view in _bases(table)]
    for one in tried:
        one.improve()
    found = [one.plan(whole) for one in tried if one.used <= budget]
    if not found:
        floor = min(one.used for one in tried)
        raise ConfigError(
            f"memory is {words_of(budget)}; a step of this network needs at least {words_of(floor)}, with every block "
            f"recomputed; allow that, or lower batch_size, raise accumulate or lower the resolution"
        )
    best = found[0] if len(found) == 1 else _faster(subject, *found)
    log.info("%s", best)
    return best


Base = Mapping[str, str]
"""The mode around all pieces, if there is one."""


def _bases(table: Table) -> Iterator[tuple[Base, Table]]:
    """Each with what the pieces cost in there, where ``plain`` leaves a piece to it."""
    yield {}, table
    if "" not in table:
        yield (
            {"": "fused"},
            {
                path: {"plain": modes.get("fused", modes["plain"])}
                | {mode: cost for mode, cost in modes.items() if mode not in ("plain", "fused")}
                for path, modes in table.items()
            },
        )


def _faster(subject: Subject[N], one: Plan, other: Plan) -> Plan:
    """Of two plans that fit, the one whose step is faster; the first where the clock can hardly tell."""
    first, second = subject.seconds([one.execution, other.execution])
    return other if second < CLEAR * first else one


class _Trying:
    """Plans on a base that are measured, and the best of them within the budget.

    Args:
        subject: the network and what a step with it is.
        table: what each piece costs in each mode.
        base: what all of them have.
        budget: bytes that a step may hold.
    """

    def __init__(self, subject: Subject[Any], table: Table, base: Base, budget: int) -> None:
        self.subject, self.table, self.base, self.budget = subject, table, base, budget
        self.peaks: dict[frozenset[tuple[str, str]], int] = {}
        """As measured, by the pairs of a choice."""
        slowest = _search(table, _floor(table))
        assert slowest is not None, "the floor is what some plan needs"
        self.best = slowest
        self.used = subject.peak({**base, **slowest})
        """Bytes that the best one needs: more than the budget when even the slowest does."""
        self.off = self.used - _modelled(table, slowest)
        """What a step needs beside what its pieces do: gradients, the loss, what lies between the pieces."""

    def plan(self, whole: float) -> Plan:
        """The best one.

        Args:
            whole: seconds of the pieces of the plain network.
        """
        seconds = _seconds(self.table, self.best) / max(whole, 1e-12)
        return Plan({**self.base, **self.best}, self.budget, self.used, seconds)

    @property
    def goes_on(self) -> bool:
        """Whether the best plan leaves too much, and plans may be measured still."""
        return self.used < CLOSE * self.budget and len(self.peaks) < TRIES

    def peak(self, choice: dict[str, str]) -> int:
        """Bytes that a plan needs; it is measured once, and is the best one from then on if it is."""
        key = frozenset(choice.items())
        if key not in self.peaks:
            self.peaks[key] = peak = self.subject.peak({**self.base, **choice})
            now = (_seconds(self.table, self.best), -self.used)
            if peak <= self.budget and (_seconds(self.table, choice), -peak) < now:
                self.best, self.used = choice, peak
        return self.peaks[key]

    def improve(self) -> None:
        """Look for a faster plan, unless every piece can be left to the base."""
        if self.base:
            if (whole := self.peak({})) <= self.budget:
                return
            self.table = _scaled(self.table, (whole - self.off) / max(_modelled(self.table, {}), 1))
        self.close_in()
        self.spend()

    def close_in(self) -> None:
        """Allow the pieces more bytes while a step needs less than the budget, and fewer while it needs more."""
        low, high, allowed = _floor(self.table), 0, self.budget - self.off
        most = _modelled(self.table, {})
        while self.goes_on and (not high or high - low > self.budget >> 8):
            choice = _search(self.table, allowed)
            assert choice is not None, "the floor is allowed"
            count, left = len(self.peaks), self.budget - self.peak(choice)
            if left >= 0 and allowed >= most:
                return
            low, high = (allowed, high) if left >= 0 else (low, allowed)
            if len(self.peaks) > count or not high:
                allowed += left
            if high and not low < allowed < high:
                allowed = (low + high) // 2

    def spend(self) -> None:
        """Give what is left to one piece or two, in the way that the most of it is used."""
        while self.goes_on:
            now, left = _modelled(self.table, self.best), self.budget - self.used
            further = [
                (more, changed)
                for changed in _no_slower(self.table, self.best)
                if 0 < (more := _modelled(self.table, changed) - now) <= left
                and frozenset(changed.items()) not in self.peaks
            ]
            if not further:
                return
            self.peak(max(further, key=lambda pair: pair[0])[1])


def _scaled(table: Table, share: float) -> Table:
    """A table whose pieces hold a share of what they do by themselves, where they are left to the base."""
    share = min(max(share, 0.0), 1.0)

    def scaled(cost: Cost) -> Cost:
        """What it holds is less, what it needs beside that while it runs is not."""
        held = int(share * cost.held)
        return Cost(held, held + cost.peak - cost.held, cost.seconds)

    return {path: {**modes, "plain": scaled(modes["plain"])} for path, modes in table.items()}


def _no_slower(table: Table, choice: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Plans that differ in a piece or two, and take no more time."""
    changes = [
        (path, mode, cost.seconds - modes[choice.get(path, "plain")].seconds)
        for path, modes in table.items()
        for mode, cost in modes.items()
        if mode != choice.get(path, "plain")
    ]
    for i, (path, mode, more) in enumerate(changes):
        if more < 1e-12:
            yield _changed(choice, {path: mode})
        for other, its, further in changes[:i]:
            if other != path and more + further < 1e-12:
                yield _changed(choice, {path: mode, other: its})


def _changed(choice: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    return {path: mode for path, mode in {**choice, **changes}.items() if mode != "plain"}


def measured(subject: Subject[N]) -> dict[str, dict[str, Cost]]:
    """What each piece costs in each mode, in the order in which they run; no mode is faster than plain."""
    plain = subject.make("plain")
    network = subject.network(plain)
    streams = [path for path, module in running(network) if isinstance(module, ReversibleStage)]
    others = [
        path
        for path in planned_paths(network)
        if not any(f"{path}.".startswith(f"{stage}.") for stage in streams)
    ]
    where = {"plain": [*others, *streams], **dict.fromkeys(CANDIDATES[1:], others), "reversible": streams}
    networks = {
        mode: (
            network if mode == "plain" else subject.network(subject.make(dict.fromkeys(paths, mode))),
            paths,
        )
        for mode, paths in where.items()
    }
    found = costs(networks, lambda: subject.run(plain), subject.device)
    return {
        path: {
            mode: Cost(cost.held, cost.peak, max(cost.seconds, modes["plain"].seconds))
            for mode, cost in modes.items()
        }
        for path, modes in found.items()
    }


def _modelled(table: Table, choice: Mapping[str, str]) -> int:
    """The most bytes at a time, by adding up pieces."""
    held = most = 0
    for path, modes in table.items():
        cost = modes[choice.get(path, "plain")]
        most = max(most, held + cost.peak)
        held += cost.held
    return most


def _floor(table: Table) -> int:
    """The least that any plan needs, by adding up pieces: a step early in the row never pays for one that is late."""
    low, high = 0, _modelled(table, {})
    while high - low > max(1, high >> 12):
        middle = (low + high) // 2
        low, high = (low, middle) if _search(table, middle) is not None else (middle, high)
    return high


def _seconds(table: Table, choice: Mapping[str, str]) -> float:
    return sum(modes[choice.get(path, "plain")].seconds for path, modes in table.items())


State = tuple[int, float, tuple[str, ...]]
"""Bytes held so far, seconds so far, and the modes that were chosen."""


def _search(table: Table, allowed: int) -> dict[str, str] | None:
    """The fastest plan within some bytes; None when there is none. Exact as long as the states are few."""
    states: list[State] = [(0, 0.0, ())]
    for modes in table.values():
        further = [
            (held + cost.held, seconds + cost.seconds, (*chosen, mode))
            for held, seconds, chosen in states
            for mode, cost in modes.items()
            if held + cost.peak <= allowed
        ]
        states = _undominated(further)
        if not states:
            return None
    best = min(states, key=lambda state: state[1])
    return {path: mode for path, mode in zip(table, best[2]) if mode != "plain"}


def _undominated(states: Sequence[State]) -> list[State]:
    """Those that no other beats both in bytes and in seconds; where they are many, evenly thinned out."""
    kept: list[State] = []
    for state in sorted(states, key=lambda state: state[:2]):
        if not kept or state[1] < kept[-1][1]:
            kept.append(state)
    if len(kept) <= STATES:
        return kept
    step = len(kept) / STATES
    return [kept[int(i * step)] for i in range(STATES)]
