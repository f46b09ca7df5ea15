"""Where the time of a network goes on a device of a run, which choices pay there, and what is smaller and slower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.explain import Explanation, explain
from hardware.measurement import Profile
from supernet.drawing import INK, LEFT, MUTED, canvas, write_png
from supernet.elastic.supernet import Supernet
from supernet.space import Architecture, Value
from supernet.stages import choices_by_stage
from zoo.pipeline.profiling import Profiled, profiled
from zoo.pipeline.workspace import Workspace


@dataclass(frozen=True)
class Saving:
    """What smaller values of the choices of one kind in one stage save.

    Args:
        stage: path of the stage.
        kind: of the choices: ``kernel``, ``width``, ``depth``.
        choices: their names.
        values: what each is set to.
        ms: how much faster the network is than with their largest values; negative where it is slower.
        more_ms: how much of that comes beyond the next larger values.
        is_measured: whether both were timed; at least one was predicted otherwise.
        verdict: ``saves``, ``costs``, or ``nothing``: `more_ms` is within what a second measurement is off.
    """

    stage: str
    kind: str
    choices: tuple[str, ...]
    values: tuple[Value, ...]
    ms: float
    more_ms: float
    is_measured: bool
    verdict: str

    def __str__(self) -> str:
        shown = ", ".join(map(str, dict.fromkeys(self.values)))
        how = "measured" if self.is_measured else "predicted"
        what = f"{abs(self.more_ms):.3g} ms" if self.verdict != "nothing" else "nothing"
        return f"{self.kind} {shown} in {self.stage} {_VERBS[self.verdict]} {what} more than the next larger ({how})"


_VERBS = {"saves": "saves", "nothing": "saves", "costs": "costs"}


@dataclass(frozen=True)
class Slower:
    """A network that is smaller than another and slower: both were measured, and their intervals do not touch.

    Args:
        small: id of the smaller.
        large: id of the larger.
        small_ms: latency of the smaller.
        large_ms: latency of the larger.
        macs: multiply-adds of the smaller over those of the larger.
        params: parameters, likewise.
    """

    small: str
    large: str
    small_ms: float
    large_ms: float
    macs: float
    params: float

    def __str__(self) -> str:
        return (
            f"{self.small} is smaller than {self.large} ({self.macs:.0%} of the multiply-adds, {self.params:.0%} of "
            f"the parameters) and slower: {self.small_ms:.3g} against {self.large_ms:.3g} ms"
        )


@dataclass(frozen=True)
class Explained:
    """What was found out about the time of a network.

    Args:
        time: block by block.
        savings: kind by kind in every stage, from the largest network on.
        slower: what is smaller and slower, the most striking first; those with this network before all others.
        off: how far a second measurement was from the first, as a share: what saves less saves nothing.
    """

    time: Explanation
    savings: Sequence[Saving]
    slower: Sequence[Slower]
    off: float


def explain_network(workspace: Workspace, arch: Architecture, device: str = "") -> Explained:
    """Time the blocks of a network on a device of the run, and weigh the choices of the space there.

    Raises:
        DeviceError: for a device elsewhere, or another runtime than ONNX Runtime.
        StateError: when the device was not profiled.
    """
    known = profiled(workspace, device)
    net, task = workspace.net, workspace.dataset.task
    time = explain(
        net,
        arch,
        workspace.example(arch),
        device=workspace.run.device(device),
        free_axes=task.free_axes,
    )
    genes = known.profile.genes
    odd = smaller_and_slower(known.profile, workspace.costs.macs(genes), workspace.costs.params(genes))
    odd.sort(key=lambda pair: (arch.id not in (pair.small, pair.large), pair.large_ms / pair.small_ms))
    return Explained(time, savings(net, known), odd, known.profile.repeat.mean)


def savings(net: Supernet, known: Profiled) -> list[Saving]:
    """What the smaller values of every choice save on a device, against the largest network.

    Choices of one kind in one stage are made smaller together, step by step: alone, most would save less than a
    second measurement is off.
    """
    found: list[Saving] = []
    for (stage, kind), choices in choices_by_stage(net).items():
        ladder = _ladder(net, choices)
        ms, timed = _latencies(net, known, ladder)
        off = known.profile.repeat.mean * ms[0]
        for i in range(1, len(ladder)):
            values = net.space.decode(ladder[i])
            more = float(ms[i - 1] - ms[i])
            found.append(
                Saving(
                    stage,
                    kind,
                    tuple(choices),
                    tuple(values[name] for name in choices if name in values),
                    float(ms[0] - ms[i]),
                    more,
                    bool(timed[i] and timed[i - 1]),
                    "saves" if more > off else "costs" if more < -off else "nothing",
                )
            )
    return found


def smaller_and_slower(profile: Profile, macs: NDArray[Any], params: NDArray[Any]) -> list[Slower]:
    """All pairs of measured networks of which one is smaller in both costs, and slower by more than both intervals.

    Args:
        macs: of the measured networks, in their order.
        params: likewise.
    """
    found: list[Slower] = []
    for i, small in enumerate(profile.measurements):
        for j, large in enumerate(profile.measurements):
            apart = small.median_ms * (1 - small.ci) > large.median_ms * (1 + large.ci)
            if apart and macs[i] < macs[j] and params[i] < params[j]:
                found.append(
                    Slower(
                        small.arch,
                        large.arch,
                        small.median_ms,
                        large.median_ms,
                        float(macs[i] / macs[j]),
                        float(params[i] / params[j]),
                    )
                )
    return sorted(found, key=lambda pair: pair.large_ms / pair.small_ms)


def draw_explanation(explained: Explained, path: Path, command: str) -> Path:
    """Draw the shares of the blocks in the time, beside their shares in the multiply-adds.

    Args:
        command: what was typed, for the line below the title.

    Raises:
        StateError: when the place cannot be written to.
    """
    time = explained.time
    figure, axes = canvas(
        f"Where {time.total_ms:.3g} ms of {time.arch} go",
        f"{command}  ({time.device.name}, {time.device.runtime} {time.device.version})",
        "share of the whole (%)",
        "",
    )
    figure.subplots_adjust(left=LEFT + 0.1)
    at = np.arange(len(time.rows))
    axes.barh(at - 0.2, [100 * row.share for row in time.rows], 0.4, color=INK, label="of the time")
    axes.barh(
        at + 0.2, [100 * row.macs_share for row in time.rows], 0.4, color=MUTED, label="of the multiply-adds"
    )
    axes.set_yticks(at, [row.block or "(the network)" for row in time.rows])
    axes.invert_yaxis()
    return write_png(figure, path)


def _ladder(net: Supernet, choices: Sequence[str]) -> list[Architecture]:
    """The largest network, and the same with some choices smaller and smaller, all by one value at a time."""
    largest = net.space.largest()
    where = [net.space.index(name) for name in choices]
    steps = max(len(net.space[name].values) for name in choices)
    found = []
    for step in range(steps):
        genes = list(largest.genes)
        for i in where:
            genes[i] = max(genes[i] - step, 0)
        found.append(net.space.architecture(genes))
    return [arch for arch, _ in groupby(found)]


def _latencies(
    net: Supernet, known: Profiled, archs: Sequence[Architecture]
) -> tuple[NDArray[np.float64], list[bool]]:
    """The latency of each network, and whether it was measured; all are predicted where not all were measured."""
    timed = {m.arch: m.median_ms for m in known.profile.measurements}
    if all(arch.id in timed for arch in archs):
        return np.array([timed[arch.id] for arch in archs]), [True] * len(archs)
    return known.predictor.predict(net.space.matrix(archs)).mean, [False] * len(archs)
