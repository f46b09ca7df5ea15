"""The pictures of a run: its front, and how well latencies are predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from predictors.report import draw_predictions
from search.archive import Evaluation
from search.common import Trait, traits
from search.figures import Line, draw_common, draw_growth
from search.growth import growth_of
from search.objective import labels
from search.report import FrontFigure, Point, draw, points
from supernet.options import title
from supernet.space import Architecture
from supernet.stages import choices_by_stage
from supernet.wording import counted
from zoo.pipeline.profiling import Profiled
from zoo.pipeline.prove import Proof
from zoo.pipeline.searching import Searched
from zoo.pipeline.workspace import Workspace

PREDICTIONS = "predictions.png"
ROOM, LEAST = 128, 20
"""Letters that fit below the title, and how many of them the command has at least, beside seed and devices."""


def draw_profile(workspace: Workspace, known: Profiled, command: str) -> Path:
    """Draw what was predicted against what was measured, as ``predictions.png`` beside the profile.

    Args:
        command: what was typed, for the line below the title.

    Raises:
        StateError: when the run's folder cannot be written to.
    """
    return draw_predictions(
        known.profile.median_ms,
        known.held_out,
        workspace.run.profile_on(known.name) / PREDICTIONS,
        title=f"{counted(len(known.profile.measurements), 'subnet')}, each predicted without its own measurement",
        provenance=_provenance(workspace, [known], command),
        of=_latency(known),
    )


def draw_front(
    workspace: Workspace,
    known: Profiled,
    searched: Searched,
    command: str,
    *,
    proofs: Sequence[Proof] = (),
    chosen: Mapping[str, Architecture] | None = None,
    evaluate: bool = True,
) -> Path:
    """Draw the front of a device beside its run, as ``front.png``, or ``front-NAME.png`` for one that has a name.

    Args:
        searched: as the device sees it (`Searched.on`).
        command: what was typed, for the line below the title.
        proofs: of the chosen networks, which are then shown at their measured latency.
        chosen: networks of the front to point out, at their predicted latency.
        evaluate: also show what was timed, or is largest, where that was not evaluated yet.

    Raises:
        StateError: when the run's folder cannot be written to.
    """
    found = {evaluation.arch: evaluation.values for evaluation in searched.result.front}
    marks = [_proven(workspace, proof) for proof in proofs]
    marks += [_predicted(workspace, known, name, found[arch]) for name, arch in (chosen or {}).items()]
    quality, gain = workspace.quality, _gains(workspace, searched, evaluate)
    largest = workspace.net.space.largest()
    latency = known.predictor.predict(workspace.net.space.matrix([largest]))
    timed = {m.arch: m.median_ms for m in known.profile.measurements}
    corner = Point(timed.get(largest.id, float(latency.mean[0])), gain(largest))
    unit = f" ({quality.unit})" if quality.unit else ""
    figure = FrontFigure(
        title=f"{title(workspace.dataset.name)}: {quality.name} against latency on {known.name or 'this machine'}",
        provenance=_provenance(workspace, [known], command),
        cost=_latency(known),
        gain=f"{quality.name} on the search split{unit}",
        estimated=points(searched.result.front, cost=known.latency, gain=quality.name),
        measured=_timed(workspace, known, gain),
        chosen=marks,
        largest=corner if np.isfinite(corner.gain) else None,
        baselines={
            name: points(one.front, cost=known.latency, gain=quality.name)
            for name, one in searched.baselines.items()
        },
        sense=quality.sense,
        front="front, measured where it was verified" if known.verified else "front, predicted",
        seen=points(_unchosen(searched, quality.name), cost=known.latency, gain=quality.name),
    )
    return draw(figure, workspace.run.folder / f"front{known.name and '-'}{known.name}.png")


def draw_hypervolume(
    workspace: Workspace, known: Sequence[Profiled], searched: Searched, command: str
) -> Path:
    """Draw how the fronts of a search grew, and those of baselines where some were asked for, as ``hypervolume.png``.

    Raises:
        StateError: when the run's folder cannot be written to.
    """
    own, first = workspace.run.options.search.searcher, searched.result
    growth = growth_of(first.evaluations, first.objectives)
    others = {
        name: growth_of(one.evaluations, one.objectives, growth.boxes)
        for name, one in searched.baselines.items()
    }
    lines = [
        Line(name if others else "", label, one.shares[:, place])
        for name, one in {own: growth, **others}.items()
        for place, label in enumerate(labels(first.objectives))
    ]
    return draw_growth(
        lines,
        workspace.run.folder / "hypervolume.png",
        title=f"{title(workspace.dataset.name)}: hypervolume against evaluations",
        provenance=_provenance(workspace, known, command),
    )


def draw_alike(
    workspace: Workspace, known: Profiled, found: Sequence[Evaluation], alike: Sequence[Trait], command: str
) -> Path:
    """Draw what the networks of a device's front have in common, as ``common.png`` or ``common-NAME.png``.

    Args:
        found: the front.
        alike: see `common`.

    Raises:
        StateError: when the run's folder cannot be written to.
    """
    return draw_common(
        alike,
        [evaluation.values[known.latency] for evaluation in found],
        workspace.run.folder / f"common{known.name and '-'}{known.name}.png",
        title=f"What {counted(len(found), 'network')} on the front{known.name and ' of '}{known.name} have in common",
        provenance=_provenance(workspace, [known], command),
        cost=_latency(known),
    )


def common(workspace: Workspace, found: Sequence[Evaluation]) -> list[Trait]:
    """What the networks of a front have in common, kind by kind of every stage."""
    net = workspace.net
    return traits(net.space, [evaluation.arch for evaluation in found], choices_by_stage(net))


def _provenance(workspace: Workspace, known: Sequence[Profiled], command: str) -> str:
    told = [f"{one.profile.device.runtime} {one.profile.device.version}" for one in known]
    names = [one.profile.device.name for one in known]
    devices = [f"{names[0]}, {told[0]}"] if len(known) == 1 else map(": ".join, zip(names, told))
    rest = f"(seed {workspace.run.options.train.seed}; {', '.join(devices)})"
    room = max(ROOM - len(rest), LEAST)
    typed = command if len(command) <= room else f"{command[: room - 3]}..."
    return f"{typed}  {rest}"


def _latency(known: Profiled) -> str:
    device = known.profile.device
    return f"latency (ms, batch of {device.batch}, {counted(device.threads, 'thread')})"


def _proven(workspace: Workspace, proof: Proof) -> tuple[str, Point]:
    """A chosen network at its measured latency."""
    ms, ci, quality = proof.measured.median_ms, proof.measured.ci, workspace.quality.name
    values = {score.metric.name: score.value for score in proof.search.scores}
    label = _label(workspace, proof.name, values, f"{ms:.3g} ms measured")
    return label, Point(ms, values[quality], ms * (1 - ci), ms * (1 + ci))


def _predicted(
    workspace: Workspace, known: Profiled, name: str, values: Mapping[str, float]
) -> tuple[str, Point]:
    """A chosen network at its predicted latency."""
    ms = values[known.latency]
    label = _label(workspace, name, values, f"{ms:.3g} ms predicted")
    return label, Point(ms, values[workspace.quality.name])


def _label(workspace: Workspace, name: str, values: Mapping[str, float], latency: str) -> str:
    """For the legend: what people are told of a network, what it is ranked by, and its latency."""
    metrics = dict.fromkeys((workspace.told, workspace.quality))
    return "\n".join([name, *(f"{m.name} {m.show(values[m.name])}" for m in metrics), latency])


def _timed(workspace: Workspace, known: Profiled, gain: Callable[[Architecture], float]) -> list[Point]:
    """What was timed, and is known to be of some quality."""
    space = workspace.net.space
    found = [(m, gain(space.architecture(m.genes))) for m in known.profile.measurements]
    return [
        Point(m.median_ms, value, m.median_ms * (1 - m.ci), m.median_ms * (1 + m.ci))
        for m, value in found
        if np.isfinite(value)
    ]


def _gains(workspace: Workspace, searched: Searched, evaluate: bool) -> Callable[[Architecture], float]:
    """The quality of any network; of those the search did not look at it is taken now, or NaN."""
    quality = workspace.quality.name
    met = {e.arch: e.values[quality] for e in searched.result.evaluations}

    def gain(arch: Architecture) -> float:
        """Of one network."""
        value = met.get(arch, np.nan)
        if evaluate and not np.isfinite(value):
            value = met[arch] = workspace.judged(arch)[quality]
        return float(value)

    return gain


def _unchosen(searched: Searched, quality: str) -> list[Evaluation]:
    front = {evaluation.arch for evaluation in searched.result.front}
    return [e for e in searched.result.evaluations if e.arch not in front and np.isfinite(e.values[quality])]
