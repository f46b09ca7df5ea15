"""How networks are timed against each other: bursts, in rounds, beside a reference network.

On a busy machine one call can take sixty times the usual, and the usual itself drifts by a tenth within
half a minute; a ratio to a network timed right before and after repeats to about one percent. Single
calls in turn would measure cold caches (1.9 times as slow), so each network gets a burst.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from math import sqrt
from random import Random
from statistics import median
from time import perf_counter

from scipy.stats import t as student

from hardware.device import load_average
from hardware.journal import Burst, Journal, Window, by_arch
from hardware.options import ProfileOptions
from hardware.runners import Runner

ATTEMPTS = 3
"""How often a window is measured before the calmest attempt is kept."""

Tick = Callable[[int, int], None]
"""Called with how many windows are measured, and how many will be at least."""


def measure(
    phase: str,
    runners: Mapping[str, Runner],
    reference: Runner,
    journal: Journal,
    options: ProfileOptions,
    seconds: float,
    tick: Tick,
) -> None:
    """Measure networks until, on a calm machine, their intervals are narrow, or the time is over, window by window.

    Args:
        phase: name of this set of rounds in the journal.
        runners: architecture id to its network, warmed up here.
        reference: the network in every window.
        journal: what was measured before, and where the rest goes.
        options: the protocol.
        seconds: when to stop adding rounds, counted over all processes that wrote to the journal.
        tick: told after every window.
    """
    if next_window(journal, phase, list(runners), options, seconds) is None:
        return
    for runner in (reference, *runners.values()):
        warm_up(runner, options)
    while (due := next_window(journal, phase, list(runners), options, seconds)) is not None:
        number, index, archs = due
        journal.add(
            _window(phase, number, index, {arch: runners[arch] for arch in archs}, reference, options)
        )
        least = options.rounds * -(-len(runners) // options.window)
        tick(len(journal.of(phase)), max(least, len(journal.of(phase))))
    tick(len(journal.of(phase)), len(journal.of(phase)))  # all there will be, also where the time was over


def next_window(
    journal: Journal, phase: str, archs: Sequence[str], options: ProfileOptions, seconds: float
) -> tuple[int, int, list[str]] | None:
    """The round, the place in it and the networks of the window that is due; None when all is measured.

    Only what the journal holds decides, so a process that takes over measures what the first would have.
    """
    windows = journal.of(phase)
    number = windows[-1].round if windows else 0
    index = sum(window.round == number for window in windows)
    groups = _groups(journal, phase, number, archs, options, seconds)
    if index >= len(groups):  # more, where what counts as calm was told otherwise before a kill
        number, index = number + 1, 0
        groups = _groups(journal, phase, number, archs, options, seconds)
    return (number, index, groups[index]) if groups else None


def _groups(
    journal: Journal, phase: str, number: int, archs: Sequence[str], options: ProfileOptions, seconds: float
) -> list[list[str]]:
    """The windows of a round: in random order, the networks whose interval in calm windows is still too wide."""
    active = list(archs)
    if number >= 2 and sum(w.seconds for w in journal.of(phase) if w.round < number) > seconds:
        return []
    if number >= options.rounds:
        calm = by_arch(journal.calm(phase, options, before_round=number))
        active = [arch for arch in archs if not _is_known(arch, calm.get(arch, []), options)]
    Random(f"{options.seed} {phase} {number}").shuffle(active)
    return [active[i : i + options.window] for i in range(0, len(active), options.window)]


def _is_known(arch: str, calm: Sequence[Window], options: ProfileOptions) -> bool:
    ratios = [window.ratio(arch) for window in calm]
    return len(ratios) >= options.rounds and half_width(ratios) <= options.spread


def half_width(ratios: Sequence[float]) -> float:
    """Half the 95 % confidence interval of the median of some ratios, over that median.

    From the median absolute deviation: one burst that was disturbed does not widen it. Infinite for one.
    """
    if len(ratios) < 2:
        return float("inf")
    middle = median(ratios)
    deviation = 1.4826 * median(abs(ratio - middle) for ratio in ratios)
    quantile = float(student.ppf(0.975, len(ratios) - 1))
    # The median of normal samples varies by sqrt(pi / 2) = 1.2533 times what their mean does.
    return quantile * 1.2533 * deviation / sqrt(len(ratios)) / middle


def warm_up(runner: Runner, options: ProfileOptions) -> None:
    """Run a network until its caches and the clock have settled; a slow one for a second at most."""
    start, calls = perf_counter(), 0
    while True:
        spent = perf_counter() - start
        if (calls >= options.warm_calls and spent >= options.warm_ms / 1e3) or spent > 1.0:
            return
        runner.burst(5)
        calls += 5


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep Python from collecting garbage in the middle of a call that is timed."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _window(
    phase: str,
    number: int,
    index: int,
    runners: Mapping[str, Runner],
    reference: Runner,
    options: ProfileOptions,
) -> Window:
    start = perf_counter()
    attempts: list[Window] = []
    while not attempts or (attempts[-1].drift > options.drift and len(attempts) < ATTEMPTS):
        before = _burst(reference, options)
        bursts = {arch: _burst(runner, options) for arch, runner in runners.items()}
        attempts.append(
            Window(
                phase=phase,
                round=number,
                index=index,
                before=before,
                after=_burst(reference, options),
                bursts=bursts,
                attempts=len(attempts) + 1,
                seconds=round(perf_counter() - start, 4),
                date=datetime.now(UTC).isoformat(timespec="seconds"),
                load_average=load_average(),
            )
        )
    calmest = min(attempts, key=lambda window: window.drift)
    return Window(**vars(calmest) | {"attempts": len(attempts), "seconds": attempts[-1].seconds})


def _burst(runner: Runner, options: ProfileOptions) -> Burst:
    return Burst.of(runner.burst(options.burst)[options.drop :])
