"""The picture of a run's front: what was evaluated, timed, chosen, and the random search beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from search.archive import Evaluation
from search.report import FrontFigure, Point, draw, points
from supernet.options import title
from supernet.wording import counted
from zoo.pipeline.prove import Proof
from zoo.pipeline.steps import LATENCY, Profiled, Searched, Workspace, objectives


def draw_front(
    workspace: Workspace, known: Profiled, searched: Searched, proofs: Sequence[Proof], command: str
) -> Path:
    """Draw the front of a run beside it, as ``front.png``.

    Args:
        command: what was typed, for the line below the title.

    Raises:
        StateError: when the run's folder cannot be written to.
    """
    return draw(figure(workspace, known, searched, proofs, command), workspace.run.folder / "front.png")


def figure(
    workspace: Workspace, known: Profiled, searched: Searched, proofs: Sequence[Proof], command: str
) -> FrontFigure:
    """All that the picture of a front shows; the quality of what was only timed is taken now."""
    space = workspace.net.space
    largest = space.largest()
    quality, latency, _ = objectives(workspace, known)
    measured = known.profile.measurements
    shown = [
        Point(
            m.median_ms,
            float(quality([space.architecture(m.genes)])[0]),
            m.median_ms * (1 - m.ci),
            m.median_ms * (1 + m.ci),
        )
        for m in measured
    ]
    at = {m.arch: point for m, point in zip(measured, shown)}
    top = at.get(largest.id) or Point(float(latency([largest])[0]), float(quality([largest])[0]))
    chosen = [
        (
            p.name,
            Point(
                p.measured.median_ms,
                p.search.value,
                p.measured.median_ms * (1 - p.measured.ci),
                p.measured.median_ms * (1 + p.measured.ci),
            ),
        )
        for p in proofs
    ]
    device, seed = known.profile.device, workspace.run.options.train.seed
    return FrontFigure(
        title=f"{title(workspace.dataset.name)}: {quality.name} against latency on this machine",
        provenance=f"{command}  (seed {seed}; {device.name}, {device.runtime} {device.version})",
        cost=f"latency (ms, batch of {device.batch}, {counted(device.threads, 'thread')})",
        gain=f"{quality.name} on the search split" + (f" ({quality.unit})" if quality.unit else ""),
        estimated=points(searched.result.front, cost=LATENCY, gain=quality.name),
        measured=shown,
        chosen=chosen,
        largest=top,
        baseline=points(searched.baseline.front, cost=LATENCY, gain=quality.name),
        sense=quality.sense,
        seen=points(_unchosen(searched, quality.name), cost=LATENCY, gain=quality.name),
    )


def _unchosen(searched: Searched, quality: str) -> list[Evaluation]:
    front = {evaluation.arch for evaluation in searched.result.front}
    return [e for e in searched.result.evaluations if e.arch not in front and np.isfinite(e.values[quality])]
