"""Profile one device of a run: measure subnets, learn from them, and say how far predictions are off."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import NormalDist

import numpy as np

from hardware.device import Device, local_device
from hardware.measurement import Measurement, Profile, second_ms
from hardware.options import DeviceOptions
from hardware.profiler import profile
from predictors import Estimate, Predictor, predictors
from predictors.options import FEWEST, FOLDS
from predictors.references import most_telling, read_references
from predictors.validate import Region, Validation, by_region, compare, held_out
from search.archive import stored
from supernet.errors import SpaceError, StateError, did_you_mean
from supernet.space import Genes
from supernet.wording import counted
from zoo.pipeline.mixed import MixedWorkspace, on
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.run import PROFILE, Run, devices_typed
from zoo.pipeline.workspace import Workspace

VERIFIED = "verified.json"
"""Beside a profile: what was measured of a verified front."""
FILES = "files"
"""Likewise: files of mixed precision, as long as they are needed."""


@dataclass(frozen=True)
class Profiled:
    """What was measured on a device, and what was learnt from it.

    Args:
        profile: the measurements, those of a verified front among them.
        predictor: fitted on all of them.
        fresh: one like it that has learned nothing yet.
        name: of the device in the run; empty for the run's own.
        verified: measurements of exported networks, by the id of the architecture.
    """

    profile: Profile
    predictor: Predictor
    fresh: Callable[[], Predictor] = field(repr=False)
    name: str = ""
    verified: Mapping[str, Measurement] = field(default_factory=dict, repr=False)

    @cached_property
    def _found(self) -> dict[bytes, tuple[float, float]]:
        """Of those that were verified: what they took, and the standard deviation of a second measurement."""
        found = list(self.verified.values())
        rows = zip(found, second_ms(found, self.profile.repeat) / 1.96)
        return {stored(np.array([m.genes]))[0]: (m.median_ms, sd) for m, sd in rows}

    def estimate(self, genes: Genes) -> Estimate:
        """Latencies ``(networks,)``: as measured of those that were verified, as predicted of the others."""
        found = self.predictor.predict(genes)
        deviations = NormalDist().inv_cdf(0.5 + found.level / 2)
        for row, key in enumerate(stored(genes)) if self.verified else ():
            if one := self._found.get(key):
                ms, sd = one
                found.mean[row], found.sd[row] = ms, sd
                found.low[row], found.high[row] = max(ms - deviations * sd, 0.0), ms + deviations * sd
        return found

    @cached_property
    def held_out(self) -> Estimate:
        """Each latency as predicted without its own measurement; it takes a predictor for every fold."""
        found = self.profile
        return held_out(self.fresh, found.genes, found.median_ms, found.noise_ms)

    @cached_property
    def validation(self) -> Validation:
        """How far those are off."""
        return compare(self.held_out, self.profile.median_ms, folds=FOLDS)

    @cached_property
    def regions(self) -> list[Region]:
        """Likewise for the fastest third, the middle and the slowest."""
        return by_region(self.held_out, self.profile.median_ms)

    @property
    def latency(self) -> str:
        """What its latency is called among the objectives of a search: ``latency``, or ``latency_NAME``."""
        return f"latency_{self.name}" if self.name else "latency"


def profile_device(
    workspace: Workspace, progress: Progress = silent, *, device: str = "", exports: Path | None = None
) -> Profiled:
    """Measure subnets on a device, or read what was measured, and fit the predictor.

    Args:
        device: one that is described (`hardware.described`); the run's own when empty.
        exports: where exported files are left for other devices, see `hardware.profiler.profile`.

    Raises:
        DeviceError: when there is no such device, or it does not answer.
        SupernetError: when no predictor is registered under the name in the options.
        SpaceError: when the space holds too few subnets to learn from.
        StateError: when the folder holds another profile.
    """
    run, task = workspace.run, workspace.read(progress).task
    predictors[run.options.predict.predictor]  # an unknown one is refused before the run keeps its name
    workspace, used = on(workspace, [device]), run.device(device)
    if isinstance(workspace, MixedWorkspace) and _is_measured(run.profile_on(device), used):
        return profiled(workspace, device)  # files in eight bits are not made again to find that out
    archs = most_telling(
        workspace.net.space,
        run.options.profile.subnets,
        references(workspace, local_device(used)),
        run.options.profile.seed,
        workspace.costs.macs,
    )
    if len(archs) < FEWEST:
        raise SpaceError(
            f"the space holds {counted(workspace.net.space.size, 'network')}, and a predictor needs {FEWEST} "
            f"to learn from; make more of the supernet elastic, see supernet.options"
        )
    run.keep()  # before anything is measured: one that is cut short goes on with the same words
    files = (
        workspace.to_be_timed(archs, used, run.profile_on(device) / FILES, progress)
        if isinstance(workspace, MixedWorkspace)
        else {}
    )
    measured = profile(
        workspace.net,
        archs,
        workspace.example,
        run.profile_on(device),
        files={arch.id: path for arch, path in files.items()},
        free_axes=task.free_axes,
        options=run.options.profile,
        device=used,
        exports=exports,
        progress=progress,
    )
    shutil.rmtree(run.profile_on(device) / FILES, ignore_errors=True)
    return learn(workspace, measured, device, _verified(workspace, measured, device))


def _is_measured(folder: Path, used: DeviceOptions) -> bool:
    path = folder / PROFILE
    return path.exists() and Profile.load(path).device.id == local_device(used).id


def references(workspace: Workspace, device: Device) -> dict[str, Predictor]:
    """Predictors of the other devices whose profiles the options name; none where they name none.

    Raises:
        StateError: when the folder they are in is missing.
    """
    folder = workspace.run.options.predict.references
    if folder is None:
        return {}
    macs, params = workspace.costs.macs, workspace.costs.params
    return read_references(
        Path(folder), workspace.net.space, macs=macs, params=params, other_than=device.id
    )  # fmt: skip


def learn(
    workspace: Workspace, measured: Profile, device: str = "", verified: Sequence[Measurement] = ()
) -> Profiled:
    """Fit the run's predictor on a profile, and on what was measured of a verified front."""
    options, others = workspace.run.options.predict, references(workspace, measured.device)
    more = {"references": others} if others else {}

    def fresh() -> Predictor:
        """One that has learned nothing yet."""
        return predictors[options.predictor](
            workspace.net.space, macs=workspace.costs.macs, params=workspace.costs.params, **more
        )

    known = {m.arch: m for m in verified}
    kept = [m for m in measured.measurements if m.arch not in known]
    measured = replace(measured, measurements=(*kept, *verified))
    predictor = fresh()
    predictor.fit(measured.genes, measured.median_ms, measured.noise_ms)
    return Profiled(measured, predictor, fresh, device, known)


def learn_more(workspace: Workspace, known: Profiled, found: Profile) -> Profiled:
    """Keep measurements of exported networks beside the profile of a device, and learn from them.

    Raises:
        StateError: when the run's folder cannot be written to.
    """
    folder = workspace.run.profile_on(known.name)
    verified = {**known.verified, **{m.arch: m for m in found.measurements}}
    replace(found, measurements=tuple(verified.values())).save(folder / VERIFIED)
    return learn(workspace, Profile.load(folder / PROFILE), known.name, list(verified.values()))


def _verified(workspace: Workspace, measured: Profile, device: str) -> tuple[Measurement, ...]:
    """What was measured of a verified front on this very device."""
    path = workspace.run.profile_on(device) / VERIFIED
    if not path.exists():
        return ()
    found = Profile.load(path)
    return found.measurements if found.device.id == measured.device.id else ()


def profiled(workspace: Workspace, device: str = "") -> Profiled:
    """What an earlier profiling step left of a device.

    Args:
        device: its name; empty for the run's own.

    Raises:
        StateError: when there is nothing yet.
    """
    run = workspace.run
    path = run.profile_on(device) / PROFILE
    if not path.exists():
        raise StateError(_missing(run, device))
    measured = Profile.load(path)
    return learn(workspace, measured, device, _verified(workspace, measured, device))


def every_profiled(workspace: Workspace) -> list[Profiled]:
    """What there is of every device of the run whose networks these are, its own first."""
    run, space = workspace.run, workspace.net.space.fingerprint
    there = [name for name in ("", *run.devices) if (run.profile_on(name) / PROFILE).exists()]
    known = [name for name in there if Profile.load(run.profile_on(name) / PROFILE).space == space]
    return [profiled(workspace, name) for name in known]


def _missing(run: Run, device: str) -> str:
    of = f" of the device {device!r}{did_you_mean(device, run.devices)}" if device else ""
    also = f"; or name a device that was profiled: {' '.join(devices_typed(run.devices))}"
    return (
        f"{run.folder} holds no profile{of}; run this first: {run.command('profile', *devices_typed([device]))}"
        f"{also if run.devices and not device else ''}"
    )
