"""Verify a front: its networks as exported files, timed on the device and judged, and searched on where that disagrees.

A point of a front holds when its latency was measured, or is measured now and lies within what was predicted. The
predictor learns from every measurement, so the front moves; where too few of its points hold, the search goes on with
what was learned, and what is new on the front is measured next. Latencies belong to a device, and how good a file is
to the archive: neither is paid for twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime

from hardware.measurement import Measurement
from hardware.quantise import FileNetwork
from predictors import Estimate
from search.archive import Archive, Evaluation
from search.engine import SearchResult
from search.objective import Objective, Values
from search.trials import Progress as Told
from supernet.elastic.inputs import output_tensors
from supernet.space import Architecture, Genes
from supernet.tasks.task import Metric
from zoo.pipeline.profiling import Profiled, learn_more
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.prove import time_files
from zoo.pipeline.searching import Searched, archive_of, judged_by, objectives, search_for
from zoo.pipeline.workspace import Workspace

ENOUGH = 0.95
"""The share of a front that has to hold."""
FOLDER = "verified"
"""Beside a profile: the journals of these measurements; beside the archive: the files, as long as they are needed."""


@dataclass(frozen=True)
class Check:
    """One network of a front.

    Args:
        arch: which one.
        predicted: its latency in ms, before it was measured; of one network.
        measured: the latency of the exported file.
        evaluated: what it is ranked by, on the search split, as the search had it.
        of_file: likewise, of the exported file in ONNX Runtime; NaN for one with several outputs or named inputs.
    """

    arch: Architecture
    predicted: Estimate
    measured: Measurement
    evaluated: float
    of_file: float

    @property
    def holds(self) -> bool:
        """Whether the measurement lies within the interval of the prediction."""
        low, high = float(self.predicted.low[0]), float(self.predicted.high[0])
        return low <= self.measured.median_ms <= high


@dataclass(frozen=True)
class Round:
    """The front of one device at one time.

    Args:
        front: how many points it had.
        checks: those that were measured in this round.
    """

    front: int
    checks: Sequence[Check]

    @property
    def share(self) -> float:
        """The share of the points that hold."""
        return 1 - sum(not check.holds for check in self.checks) / self.front


@dataclass(frozen=True)
class Verified:
    """What became of the fronts of a search.

    Args:
        known: the devices, as they have learned.
        searched: the search, with the fronts as they are now.
        rounds: of each device, by its name.
    """

    known: Sequence[Profiled]
    searched: Searched
    rounds: Mapping[str, Sequence[Round]]

    def holds(self, device: str) -> bool:
        """Whether enough of the front of a device holds."""
        return self.rounds[device][-1].share >= ENOUGH


def verify(
    workspace: Workspace, known: Sequence[Profiled], searched: Searched, progress: Progress = silent
) -> Verified:
    """Measure and judge the fronts of some devices, and search on until they hold, or the rounds are over.

    Args:
        known: the devices of the search.
        searched: what it found.

    Raises:
        DeviceError: when a device does not answer.
        ExportError: when a network of a front cannot be exported.
        InfeasibleError: when by what was measured no network is within the limits.
        StateError: when the run's folder cannot be written to.
    """
    options, now = workspace.run.options.search, list(known)
    rounds: dict[str, list[Round]] = {one.name: [] for one in known}
    spent = searched.result.spent
    for number in range(1, options.verify_rounds + 1):
        tell, files = partial(_tell, progress, f"round {number}"), dict[Architecture, Path]()
        for place, one in enumerate(now):
            found, now[place] = _round(workspace, one, searched.on(one).result, files, tell)
            rounds[one.name].append(found)
        for path in files.values():
            path.unlink()
        searched = replace(searched, result=searched.result.anew(objectives(workspace, now)))
        if number == options.verify_rounds or all(rounds[one.name][-1].share >= ENOUGH for one in now):
            break
        further = replace(options, evaluations=spent + number * options.verify_evaluations, plateau=0.0)
        goals = objectives(workspace, now)
        result = search_for(workspace, goals, further, partial(tell, "searching on"))
        scored = searched.result.scored + result.scored
        searched = replace(searched, result=replace(result, scored=scored, ended=searched.result.ended))
    return Verified(now, searched, rounds)


def _tell(progress: Progress, of: str, part: str, done: int, total: int) -> None:
    progress(f"{part} ({of})", done, total)


def _round(
    workspace: Workspace,
    known: Profiled,
    found: SearchResult,
    made: dict[Architecture, Path],
    tell: Progress,
) -> tuple[Round, Profiled]:
    """Measure and judge what nobody has of the front of a device, and learn from it.

    Args:
        made: the files of this round, of all devices; those that are missing are made and added.
    """
    fresh = [point for point in found.front if point.arch.id not in known.verified]
    if not fresh:
        return Round(len(found.front), ()), known
    archs = [point.arch for point in fresh]
    made |= exported(workspace, [arch for arch in archs if arch not in made], tell)
    files = {arch: made[arch] for arch in archs}
    predicted = known.estimate(workspace.net.space.matrix(files))
    worth = _judged(workspace, files, workspace.quality, partial(tell, "judge"))
    timed = time_files(workspace, known, files, FOLDER, tell)
    measured = {m.arch: m for m in timed.measurements}
    checks = [
        Check(point.arch, _row(predicted, i), measured[point.arch.id], _quality(workspace, point), worth[i])
        for i, point in enumerate(fresh)
    ]
    return Round(len(found.front), checks), learn_more(workspace, known, timed)


def _quality(workspace: Workspace, point: Evaluation) -> float:
    return point.values[workspace.quality.name]


def _row(found: Estimate, row: int) -> Estimate:
    one = slice(row, row + 1)
    return replace(found, mean=found.mean[one], low=found.low[one], high=found.high[one], sd=found.sd[one])


def exported(workspace: Workspace, archs: Sequence[Architecture], tell: Progress) -> dict[Architecture, Path]:
    """Networks as ONNX files, with statistics of their own, for as long as they are needed.

    Raises:
        ExportError: when one cannot be exported.
        StateError: when the run's folder cannot be written to.
    """
    if not archs:
        return {}
    cut = {arch: workspace.cut_out(arch) for arch in archs}
    return workspace.files(cut, workspace.run.search / FOLDER, tell)


def _judged(
    workspace: Workspace, files: Mapping[Architecture, Path], metric: Metric, tell: Told
) -> list[float]:
    """What files are worth by a metric, in order; what an earlier call found is in the archive."""
    of_file = {"file": f"ONNX, by onnxruntime {onnxruntime.__version__}"}

    def score(genes: Genes) -> Values:
        """Nobody asks: the files are here."""
        raise AssertionError

    goal = Objective(metric.name, metric.unit, metric.sense, score, depends=judged_by(workspace) | of_file)
    genes, net = workspace.net.space.matrix(files), workspace.net
    with Archive(archive_of(workspace), net.space, write=True) as archive:
        values = archive.look_up(goal, genes)
        for row, (arch, path) in enumerate(files.items()):
            if np.isnan(values[row]) and _is_plain(workspace, arch):
                network = FileNetwork(path, workspace.run.options.train.threads).eval()
                values[row] = workspace.evaluator.of(network, net.input_values(arch))[metric.name]
                archive.record(goal, genes[[row]], values[[row]])
            tell(row + 1, len(files))
    return [float(value) for value in values]


def _is_plain(workspace: Workspace, arch: Architecture) -> bool:
    """Whether a file can stand in for a network: inputs by place, and one output."""
    example = workspace.example(arch)
    return not example.kwargs and len(list(output_tensors(example.call(workspace.net.subnet(arch))))) == 1
