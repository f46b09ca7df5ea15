"""What is said of a profile: what was measured, whether it is to be believed, and how far predictions are off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hardware.energy import NOT_AVAILABLE, in_words
from hardware.measurement import Measurement, Profile
from supernet.errors import SupernetError
from supernet.wording import counted
from zoo.cli.narrator import Narrator
from zoo.pipeline.profiling import Profiled


def print_profile(known: Profiled, narrator: Narrator) -> None:
    """What was measured, how well it repeats, and how far the predictor is off."""
    found, off = known.profile, known.validation
    low, high = found.median_ms.min(), found.median_ms.max()
    narrator.say(
        f"{found.device.name}, {found.device.runtime} {found.device.version}, {counted(found.device.threads, 'thread')}"
    )
    narrator.say(
        f"{counted(len(found.measurements), 'subnet')} took {low:.3f} to {high:.3f} ms; measured twice they differ by "
        f"{found.repeat.mean:.1%}, so that a second measurement is expected within "
        f"{np.median(found.second_ms / found.median_ms):.1%} of the first, 95 times in 100; "
        f"{counted(found.windows, 'window')} were measured, and again "
        f"{counted(found.drifts, 'time')} because the machine drifted."
    )
    narrator.say(_beside_time(found))
    narrator.say(f"Energy of the network beside which they were timed: {in_words(found.energy)}.")
    for arch, why in found.failed.items():
        narrator.say(f"Note: {arch} is left out, as it does not run there: {why}.")
    if not found.is_quiet:
        narrator.say(
            f"Note: the device was too noisy to be believed, as {_noise(found)}. End what else "
            f"runs there, or give it more time with --set profile.seconds={max(60, round(4 * found.seconds))}; "
            f"the folder {Path('profile', known.name)} of the run has to be removed before it is profiled again."
        )
    narrator.say(f"Predictor: {known.predictor.model}. On subnets it has not seen: {off}.")
    errors = ", ".join(f"{part.mape:.1%}" for part in known.regions)
    narrator.say(
        f"Of the fastest third, the middle and the slowest, predictions are off by {errors} on average."
    )


def say_busy(narrator: Narrator, measurements: Sequence[Measurement]) -> None:
    """Which of some measurements a busy machine has made, when there are such."""
    busy = sum(one.busy for one in measurements)
    if busy:
        narrator.say(
            f"Note: {busy} of {counted(len(measurements), 'network')} could not be timed while the device was as calm "
            f"as at its best, so that those latencies may be a tenth off; end what else runs there."
        )


def _noise(found: Profile) -> str:
    if found.busy:
        return f"{counted(found.busy, 'subnet')} could not be measured while it was as calm as at its best"
    return f"second measurements should differ by {found.options['drift']:.0%} at most"


def _beside_time(found: Profile) -> str:
    """Throughput and file size of all that was measured, peak memory of the reference."""
    slow, fast = found.examples_per_s.min(), found.examples_per_s.max()
    sizes = [m.file_bytes / 1024 for m in found.measurements if m.file_bytes is not None]
    files = f"{min(sizes):,.0f} to {max(sizes):,.0f} KiB" if sizes else NOT_AVAILABLE
    peak = NOT_AVAILABLE if found.peak_mib is None else f"{found.peak_mib:,.1f} MiB"
    peaks = [m.peak_mib for m in found.measurements if m.peak_mib is not None]
    if peaks:
        peak += f", and {min(peaks):,.1f} to {max(peaks):,.1f} MiB of all"
    return (
        f"Throughput: {slow:,.0f} to {fast:,.0f} examples a second; files: {files}; "
        f"peak memory of the network beside which they were timed: {peak}."
    )


def print_failed(failed: Mapping[str, SupernetError], narrator: Narrator) -> None:
    """Which devices could not be profiled, and why."""
    for name, why in failed.items():
        narrator.say(f"{name} could not be profiled: {why}")
