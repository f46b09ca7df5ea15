"""Auto: the fastest choice of modes whose training step stays within a number of bytes.

Every piece of the network (its blocks, and what is beside them) is measured once in every mode, on the real inputs.
Which mode each piece gets is then a small exact search, and the choice is verified: its real step is measured, and the
search told how far it was off, until the step fits. The chosen plan is a mapping like any other.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from supernet.errors import ConfigError
from supernet.memory.measuring import Cost, costs, peak_bytes
from supernet.memory.modes import Execution
from supernet.memory.pieces import pieces, running
from supernet.memory.sizes import words_of
from supernet.reversible import ReversibleStage

log = logging.getLogger(__name__)
N = TypeVar("N")

CANDIDATES = ("plain", "fused", "checkpoint", "checkpoint_fused")
"""Exact modes that work on every network."""
TRIES = 8
"""How often a plan is measured and the search told by how much it was off."""
CLOSE = 0.95
"""Share of a budget that a plan should use: one that uses less might be faster."""
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
        seconds: that its pieces take, as measured, over those of the plain network.
    """

    execution: dict[str, str]
    budget: int
    peak: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint; ``Plan(**document)`` reads it back."""
        return asdict(self)

    def __str__(self) -> str:
        counts = Counter(self.execution.values())
        said = ", ".join(f"{count} in {mode}" for mode, count in sorted(counts.items()))
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
    slowest = _search(table, _floor(table))
    assert slowest is not None, "the floor is what some plan needs"
    best, off = None, _off(subject, slowest, table)
    floor = off + _modelled(table, slowest)
    if floor > budget:
        raise ConfigError(
            f"memory is {words_of(budget)}; a step of this network needs at least {words_of(floor)}, with every block "
            f"recomputed; allow that, or lower batch_size, raise accumulate or lower the resolution"
        )
    best = Plan(slowest, budget, floor, _ratio(table, slowest))
    allowed = budget - off
    tried: set[tuple[str, ...]] = set()
    for _ in range(TRIES):
        choice = _search(table, max(allowed, _floor(table)))
        assert choice is not None
        if (key := tuple(f"{path}={mode}" for path, mode in choice.items())) in tried:
            break
        tried.add(key)
        peak = subject.peak(choice)
        found = Plan(choice, budget, peak, _ratio(table, choice))
        if peak <= budget and (found.seconds, -peak) < (best.seconds, -best.peak):
            best = found
        if CLOSE * budget <= peak <= budget:
            break
        allowed += budget - peak if peak > budget else (budget - peak) // 2
    log.info("%s", best)
    return best


def measured(subject: Subject[N]) -> dict[str, dict[str, Cost]]:
    """What each piece costs in each mode, in the order in which they run; no mode is faster than plain."""
    plain = subject.make("plain")
    network = subject.network(plain)
    streams = [path for path, module in running(network) if isinstance(module, ReversibleStage)]
    others = [
        path
        for path, _ in pieces(network)
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


def _off(subject: Subject[N], choice: Mapping[str, str], table: Table) -> int:
    """What a step needs beside what its pieces do: gradients, the loss, what lies between the pieces."""
    return subject.peak(choice) - _modelled(table, choice)


def _ratio(table: Table, choice: Mapping[str, str]) -> float:
    seconds = sum(modes[choice.get(path, "plain")].seconds for path, modes in table.items())
    return seconds / max(sum(modes["plain"].seconds for modes in table.values()), 1e-12)


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
