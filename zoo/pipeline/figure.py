"""The picture of a run's front: what was evaluated, timed, chosen, and the random search beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from search.archive import Evaluation
from search.report import FrontFigure, Point, draw, points
from zoo.pipeline.prove import Proof
from zoo.pipeline.steps import ACCURACY, LATENCY, Bench, Profiled, Searched, objectives


def draw_front(
    bench: Bench, known: Profiled, searched: Searched, proofs: Sequence[Proof], command: str
) -> Path:
    """Draw the front of a run beside it, as ``front.png``.

    Args:
        command: what was typed, for the line below the title.

    Raises:
        StateError: when the run's folder cannot be written to.
    """
    return draw(figure(bench, known, searched, proofs, command), bench.run.folder / "front.png")


def figure(
    bench: Bench, known: Profiled, searched: Searched, proofs: Sequence[Proof], command: str
) -> FrontFigure:
    """All that the picture of a front shows; the accuracy of what was only timed is taken now."""
    space = bench.net.space
    largest = space.largest()
    accuracy, latency, _ = objectives(bench, known)
    measured = known.profile.measurements
    shown = [
        Point(
            m.median_ms,
            float(accuracy([space.architecture(m.genes)])[0]),
            m.median_ms * (1 - m.ci),
            m.median_ms * (1 + m.ci),
        )
        for m in measured
    ]
    at = {m.arch: point for m, point in zip(measured, shown)}
    top = at.get(largest.id) or Point(float(latency([largest])[0]), float(accuracy([largest])[0]))
    chosen = [
        (
            p.name,
            Point(
                p.measured.median_ms,
                100 * p.search.share,
                p.measured.median_ms * (1 - p.measured.ci),
                p.measured.median_ms * (1 + p.measured.ci),
            ),
        )
        for p in proofs
    ]
    device, seed = known.profile.device, bench.run.options.train.seed
    return FrontFigure(
        title=f"{bench.dataset.name.partition('@')[0]}: accuracy against latency on this machine",
        provenance=f"{command}  (seed {seed}; {device.name}, {device.runtime} {device.version})",
        cost=f"latency (ms, batch of {device.batch}, {device.threads} thread)",
        gain="accuracy on the search split (%)",
        estimated=points(searched.result.front, cost=LATENCY, gain=ACCURACY),
        measured=shown,
        chosen=chosen,
        largest=top,
        baseline=points(searched.baseline.front, cost=LATENCY, gain=ACCURACY),
        seen=points(_unchosen(searched), cost=LATENCY, gain=ACCURACY),
    )


def _unchosen(searched: Searched) -> list[Evaluation]:
    front = {evaluation.arch for evaluation in searched.result.front}
    return [e for e in searched.result.evaluations if e.arch not in front and np.isfinite(e.values[ACCURACY])]
