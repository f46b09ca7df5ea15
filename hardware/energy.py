"""Energy of a forward pass, where the machine counts it: the processor's by RAPL, an NVIDIA card's by NVML.

A counter is of a whole package or card, with whatever else runs on it; so what is told is the energy of calls, less
what the same time takes at rest. Where there is no counter, or it may not be read, energy is not available: never zero.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

POWERCAP = Path("/sys/class/powercap")
NOT_AVAILABLE = "not available"


@dataclass(frozen=True)
class Counter:
    """A number of joules that only grows, but for where it starts again from zero.

    Args:
        name: of what it counts: ``package-0``, or the name of a card.
        read: joules since some moment.
        range: joules after which it starts again; zero for never.
    """

    name: str
    read: Callable[[], float]
    range: float = 0.0

    def since(self, before: float) -> float:
        """Joules since it said so much."""
        grown = self.read() - before
        return grown + self.range if grown < 0 else grown


@dataclass(frozen=True)
class Energy:
    """What one call takes.

    Args:
        millijoules: of one call beyond rest, by counter; zero or less is noise.
        calls: how many were counted.
    """

    millijoules: dict[str, float]
    calls: int


def counters(powercap: Path = POWERCAP) -> list[Counter]:
    """What of this machine counts energy and may be read."""
    return [*_packages(powercap), *_cards()]


def energy_of(
    burst: Callable[[int], list[int]], found: list[Counter], *, seconds: float = 1.0, calls: int = 20
) -> Energy | None:
    """The energy of a call, or None where nothing counts it.

    Args:
        burst: runs so many calls, and says how long each took (`hardware.runners.Runner.burst`).
        found: see `counters`.
        seconds: of rest, and of calls, at least; counters move once a millisecond.
        calls: of a burst.
    """
    if not found:
        return None
    resting = _spent(found, lambda: time.sleep(seconds))
    done = 0

    def work() -> None:
        """Bursts for as long."""
        nonlocal done
        until = time.monotonic() + seconds
        while done == 0 or time.monotonic() < until:
            burst(calls)
            done += calls

    working = _spent(found, work)
    beyond = {
        name: joules - resting[name][0] / resting[name][1] * took for name, (joules, took) in working.items()
    }
    return Energy({name: 1e3 * joules / done for name, joules in beyond.items()}, done)


def _spent(found: list[Counter], do: Callable[[], None]) -> dict[str, tuple[float, float]]:
    """Joules and seconds of doing something, by counter."""
    before, began = [counter.read() for counter in found], time.monotonic()
    do()
    took = time.monotonic() - began
    return {counter.name: (counter.since(joules), took) for counter, joules in zip(found, before)}


def _packages(powercap: Path) -> Iterator[Counter]:
    """The processor's packages; their parts are in them, and are not counted again."""
    for zone in sorted(powercap.glob("intel-rapl:*")):
        if zone.name.count(":") > 1:
            continue
        path = zone / "energy_uj"
        with suppress(OSError, ValueError):
            _microjoules(path)  # often nobody but root may
            name = (zone / "name").read_text().strip()
            yield Counter(name, partial(_microjoules, path), _microjoules(zone / "max_energy_range_uj"))


def _microjoules(path: Path) -> float:
    return int(path.read_text()) / 1e6


def _cards() -> Iterator[Counter]:
    """NVIDIA cards that count, where ``pynvml`` is installed."""
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    except Exception:  # not installed, no driver, no card: each with an error of its own
        return
    for i, handle in enumerate(handles):
        with suppress(nvml.NVMLError):
            nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            yield Counter(f"card {i}", partial(_card_joules, nvml, handle))


def _card_joules(nvml: ModuleType, handle: object) -> float:
    return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3


def in_words(energy: Energy | None) -> str:
    """For people; what is not above rest is said to be below what can be told."""
    if energy is None:
        return NOT_AVAILABLE
    return ", ".join(
        f"{mj:.3g} mJ a call ({name})" if mj > 0 else f"too little to tell ({name})"
        for name, mj in energy.millijoules.items()
    )
