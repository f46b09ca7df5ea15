"""Profile this machine: export some subnets, time them, and say how well that repeats."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from random import Random
from statistics import mean, median

from torch import Tensor, nn

from hardware.bursts import half_width, measure, no_garbage_collection
from hardware.device import Device, local_device, pinned
from hardware.energy import counters, energy_of
from hardware.errors import DeviceError, ExportError
from hardware.export import NONE_FREE
from hardware.journal import Journal, Window, by_arch
from hardware.measurement import Measurement, Profile, Reference, RepeatError
from hardware.options import DeviceOptions, ProfileOptions
from hardware.runners import Runner, Runtime, bytes_run, peak_of, runtime_of
from hardware.subnet_files import export_subnets
from supernet.elastic.inputs import Inputs
from supernet.elastic.supernet import Supernet
from supernet.space import Architecture, SearchSpace
from supernet.tasks.task import FreeAxes

Progress = Callable[[str, int, int], None]
"""Called with the name of a step, how many of its parts are done and how many there are (so far as known)."""

Statistics = Callable[[Architecture], Mapping[str, Tensor]]
"""Batch-norm statistics of an architecture."""


def profile(
    supernet: Supernet,
    archs: Sequence[Architecture],
    inputs: Inputs | Tensor | Callable[[Architecture], Inputs],
    folder: Path,
    *,
    options: ProfileOptions | None = None,
    device: DeviceOptions | None = None,
    statistics: Statistics | None = None,
    files: Mapping[str, Path] | None = None,
    against: Profile | None = None,
    free_axes: FreeAxes = NONE_FREE,
    exports: Path | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Measure subnets on this machine by the protocol of `hardware.bursts`.

    After a kill the same call goes on with the window that was due; after the end it reads the result.

    Args:
        supernet: holds them, in eval mode.
        archs: what to measure, e.g. from `hardware.sampling.spread`; duplicates count once.
        inputs: what a forward pass is given, of any batch; a function where that depends on the
            architecture, e.g. on its resolution.
        folder: keeps the journal and the result, ``profile.json``.
        options: how well to measure.
        device: how to use the machine.
        statistics: batch-norm statistics to build into each subnet; latency does not depend on them.
        files: ONNX files to measure as they are, by id of the architecture; the others are exported.
        against: an earlier profile of this device whose reference to use, so that the two compare;
            the reference is the largest subnet otherwise.
        free_axes: axes of any length in the exported files, as `export_onnx` takes them.
        exports: where exported files are put and left, for other devices to be measured with them; a folder of
            this profile's own otherwise, which goes when all is measured.
        progress: told about every step.

    Raises:
        ArchitectureError: for an architecture of another space.
        DeviceError: when ``against`` is of another device.
        ExportError: when a subnet cannot be exported, or none of them runs on the device; one that does not costs only
            itself.
        StateError: when the folder holds another profile, another process measures into it, or it cannot be
            written to.
    """
    options, used = options or ProfileOptions(), device or DeviceOptions()
    progress = progress or (lambda step, done, total: None)
    here, given = local_device(used), dict(files or {})
    reference = _reference(supernet.space, here, against)
    archs = [supernet.space.check(arch) for arch in dict.fromkeys(archs)]
    shown = _per_architecture(inputs, used.batch)
    result = folder / "profile.json"
    heading = _heading(here, archs, reference, shown(reference), options, given)
    best_ms = against.reference.ms if against else None
    with Journal(folder / "journal.jsonl", heading, best_ms) as journal:
        if result.exists():
            return Profile.load(result)
        runtime = runtime_of(used)
        subnets = {
            arch: supernet.extract(arch, statistics(arch) if statistics else None).eval()
            for arch in dict.fromkeys([reference, *archs])
        }
        if runtime.reads_onnx:
            given |= export_subnets(
                supernet,
                {arch: subnet for arch, subnet in subnets.items() if arch.id not in given},
                shown,
                exports or folder / "onnx",
                free_axes=free_axes,
                workers=options.workers,
                progress=partial(progress, "export"),
            )

        networks = _Networks(runtime, subnets, given, shown)
        with pinned(used), no_garbage_collection():
            failed = _measure(journal, archs, reference, networks.load, options, progress)
            counted = [] if used.address else counters()
            energy = energy_of(networks.load(reference).burst, counted) if counted else None
            peak = against.peak_mib if against else networks.peak_mib(reference)
            wanted = [arch for arch in archs if options.memory and arch.id not in failed]
            peaks = networks.peaks(wanted, progress)
        found = _summarise(journal, here, archs, reference, shown(reference), options)
        sized = tuple(
            replace(m, file_bytes=networks.file_bytes(m.arch), peak_mib=peaks.get(m.arch))
            for m in found.measurements
        )
        found = replace(found, measurements=sized, failed=failed, energy=energy, peak_mib=peak)
        found.save(result)
    if exports is None:
        shutil.rmtree(folder / "onnx", ignore_errors=True)
    return found


@dataclass(frozen=True)
class _Networks:
    """What is measured: networks, their files by id, what each is run with, and what runs them."""

    runtime: Runtime
    subnets: Mapping[Architecture, nn.Module]
    files: Mapping[str, Path]
    shown: Callable[[Architecture], Inputs]

    def load(self, arch: Architecture) -> Runner:
        """One that is ready to be timed."""
        return self.runtime.load(self.subnets[arch], self.files.get(arch.id), self.shown(arch))

    def file_bytes(self, arch: str) -> int | None:
        """The size of the file that is run, where there is one."""
        return bytes_run(self.runtime, self.files.get(arch))

    def peak_mib(self, arch: Architecture) -> float | None:
        """The memory that one takes at most, where it can be told."""
        return peak_of(self.runtime, self.subnets[arch], self.files.get(arch.id), self.shown(arch))

    def peaks(self, archs: Sequence[Architecture], progress: Progress) -> dict[str, float | None]:
        """That of several, by id."""
        found: dict[str, float | None] = {}
        for number, arch in enumerate(archs, start=1):
            found[arch.id] = self.peak_mib(arch)
            progress("measure memory", number, len(archs))
        return found


def _reference(space: SearchSpace, here: Device, against: Profile | None) -> Architecture:
    """The network beside which all are measured."""
    if against is None:
        return space.largest()
    if against.device.id != here.id:
        raise DeviceError(
            f"the reference was measured on {against.device}, not on {here}; profile this device anew"
        )
    return space.architecture(against.reference.genes)


def _measure(
    journal: Journal,
    archs: Sequence[Architecture],
    reference: Architecture,
    load: Callable[[Architecture], Runner],
    options: ProfileOptions,
    progress: Progress,
) -> dict[str, str]:
    """All of them, and then some once more; each time with networks that are loaded anew.

    Returns:
        Why some do not run on the device, by their id; they are left out.
    """
    failed: dict[str, str] = {}
    for phase in _STEPS:
        left = [arch for arch in archs if arch.id not in failed]
        chosen = left if phase == "first" else _repeated(left, options)
        loaded = _loaded(list(dict.fromkeys([reference, *chosen])), load, failed)
        runners = {arch.id: loaded[arch.id] for arch in chosen if arch.id in loaded}
        if reference.id in failed or not runners:
            raise ExportError(
                f"the reference network, or every other, does not run on the device: {next(iter(failed.values()))}"
            )
        measure(
            phase,
            runners,
            loaded[reference.id],
            journal,
            options,
            options.seconds * len(runners) / len(archs),
            partial(progress, _STEPS[phase]),
        )
    return failed


def _loaded(
    archs: Sequence[Architecture], load: Callable[[Architecture], Runner], failed: dict[str, str]
) -> dict[str, Runner]:
    """Networks that are ready to be timed, by id; why one is not goes into ``failed``."""
    found: dict[str, Runner] = {}
    for arch in archs:
        try:
            found[arch.id] = load(arch)
        except ExportError as error:
            log.warning("%s is left out: %s", arch.id, error)
            failed[arch.id] = str(error)
    return found


TWICE = 6
"""How many networks are measured a second time at least: two told of nothing but luck."""
_STEPS = {"first": "measure", "repeat": "measure again"}
log = logging.getLogger(__name__)


def _per_architecture(
    inputs: Inputs | Tensor | Callable[[Architecture], Inputs], batch: int
) -> Callable[[Architecture], Inputs]:
    """What the forward pass of an architecture is given, at the batch that is timed."""
    if isinstance(inputs, Inputs | Tensor):
        same = Inputs.of(inputs).with_batch(batch)
        return lambda arch: same
    return lambda arch: inputs(arch).with_batch(batch)


def _repeated(archs: Sequence[Architecture], options: ProfileOptions) -> list[Architecture]:
    """The architectures that are measured twice."""
    count = min(len(archs), max(TWICE, ceil(options.repeat * len(archs))))
    return Random(options.seed).sample(list(archs), count)


def _heading(
    device: Device,
    archs: Sequence[Architecture],
    reference: Architecture,
    inputs: Inputs,
    options: ProfileOptions,
    files: Mapping[str, Path],
) -> dict[str, object]:
    """What makes two journals the same one; how long, what of it counts and what else is told does not."""
    free = ("seconds", "calm", "workers", "memory")
    kept = {key: value for key, value in asdict(options).items() if key not in free}
    return {
        "space": reference.space,
        "device": device.to_json(),
        "inputs": inputs.to_json(),
        "reference": reference.id,
        "architectures": [arch.id for arch in archs],
        "options": kept,
        "files": {arch: hashlib.sha256(path.read_bytes()).hexdigest() for arch, path in files.items()},
    }


def _summarise(
    journal: Journal,
    device: Device,
    archs: Sequence[Architecture],
    reference: Architecture,
    inputs: Inputs,
    options: ProfileOptions,
) -> Profile:
    phases = {phase: (journal.counted(phase, options), journal.level_ms(phase, options)) for phase in _STEPS}
    first, ms = phases["first"]
    calm = by_arch(journal.calm("first", options))
    latencies = {
        phase: {arch: _ratio(arch, windows) * level for arch, windows in found.items()}
        for phase, (found, level) in phases.items()
    }
    twice = [abs(again / latencies["first"][arch] - 1) for arch, again in latencies["repeat"].items()]
    best_ms = ms if journal.best_ms is None else journal.best_ms
    return Profile(
        space=reference.space,
        device=device,
        inputs=inputs.to_json(),
        reference=Reference(reference.id, reference.genes, best_ms),
        measurements=tuple(
            _measurement(found, arch, device, ms, busy=2 * len(calm.get(arch.id, [])) < len(found))
            for arch in archs
            if (found := first.get(arch.id))
        ),
        repeat=RepeatError(mean(twice), max(twice), len(twice)),
        windows=len(journal.windows),
        drifts=sum(window.attempts - 1 for window in journal.windows),
        seconds=round(sum(window.seconds for window in journal.windows), 3),
        options=asdict(options),
    )


def _ratio(arch: str, windows: Sequence[Window]) -> float:
    return median(window.ratio(arch) for window in windows)


def _measurement(
    windows: Sequence[Window], arch: Architecture, device: Device, reference_ms: float, busy: bool = False
) -> Measurement:
    bursts = [window.bursts[arch.id] for window in windows]
    p10, p90 = (
        median(window.relative(getattr(burst, name)) for window, burst in zip(windows, bursts))
        for name in ("p10", "p90")
    )
    ratios = [window.ratio(arch.id) for window in windows]
    return Measurement(
        arch=arch.id,
        genes=arch.genes,
        device=device.id,
        median_ms=median(ratios) * reference_ms,
        p10_ms=p10 * reference_ms,
        p90_ms=p90 * reference_ms,
        ratio=median(ratios),
        ci=half_width(ratios),
        runs=sum(burst.calls for burst in bursts),
        rounds=len(bursts),
        date=windows[-1].date,
        load_average=round(mean(window.load_average for window in windows), 2),
        busy=busy,
    )
