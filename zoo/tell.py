"""What the steps say to a person: sentences, tables, and the picture of a front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from search.archive import Evaluation
from search.report import FrontFigure, Point, points, rows
from supernet.space import Architecture
from zoo.manifest import Manifest
from zoo.narrator import Narrator
from zoo.prove import Proof, prove
from zoo.steps import ACCURACY, LATENCY, Bench, Profiled, Searched, objectives


def tell_profile(known: Profiled, narrator: Narrator) -> None:
    """What was measured, how well it repeats, and how far the predictor is off."""
    found, off = known.profile, known.validation
    low, high = found.median_ms.min(), found.median_ms.max()
    narrator.say(
        f"{found.device.name}, {found.device.runtime} {found.device.version}, {found.device.threads} thread"
    )
    narrator.say(
        f"{len(found.measurements)} subnets took {low:.3f} to {high:.3f} ms; measured twice they differ by "
        f"{found.repeat.mean:.1%}; {found.drifts} of {found.windows} windows "
        f"were measured again because the machine drifted."
    )
    narrator.say(f"The predictor, on subnets it has not seen: {off}.")


def tell_front(searched: Searched, narrator: Narrator) -> None:
    """The front as a table, and how it was found."""
    narrator.say(looked_at(searched))
    narrator.table("the front (search split)", rows(searched.result.front, searched.result.objectives))


def looked_at(searched: Searched) -> str:
    found = searched.result
    return (
        f"{found.paid} networks evaluated ({found.scored} of them now, the others were in the archive), "
        f"{len(found.front)} on the front."
    )


def tell_proofs(
    bench: Bench, known: Profiled, chosen: Mapping[str, Architecture], narrator: Narrator
) -> list[Proof]:
    """Prove the chosen networks and say what came out."""
    proofs, _ = prove(bench, known, chosen, narrator)
    narrator.table(
        "the chosen three, re-estimated, cut out, exported, measured", [proof_row(p) for p in proofs]
    )
    narrator.say(
        f"Inside the supernet against cut out: largest difference {max(p.exact for p in proofs):g}. "
        f"ONNX Runtime against PyTorch: {max(p.parity.max_relative for p in proofs):.1e} relative, "
        f"at batches of {', '.join(map(str, proofs[0].parity.batches))}."
    )
    return proofs


def proof_row(proof: Proof) -> dict[str, str]:
    """A proof as a row of a table."""
    predicted, measured = proof.predicted, proof.measured
    low, mean, high = (float(value[0]) for value in (predicted.low, predicted.mean, predicted.high))
    return {
        "": proof.name,
        "network": proof.arch.id,
        "test": str(proof.test),
        "measured ms": f"{measured.median_ms:.3g} ± {measured.ci:.1%}",
        "predicted ms": f"{mean:.3g} [{low:.3g}, {high:.3g}]",
        "params": f"{proof.params:,}",
        "MACs": f"{proof.macs:,}",
        "KiB": f"{proof.onnx.size_bytes / 1024:.0f}",
    }


def entry_rows(
    entries: Sequence[Manifest], device: str | None, max_latency_ms: float | None
) -> list[dict[str, str]]:
    """Entries as rows of a table, fastest first; those not measured on the device are left out."""
    found = []
    for entry in entries:
        latency = entry.latency(device) if device else next(iter(entry.devices), None)
        if (device and latency is None) or (
            max_latency_ms is not None and (latency is None or latency.median_ms > max_latency_ms)
        ):
            continue
        row = {
            "entry": entry.id,
            "test accuracy (%)": f"{entry.metric() or float('nan'):.2f}",
            "median ms": f"{latency.median_ms:.3f}" if latency else "",
            "device": latency.device["name"] if latency else "",
            "parameters": f"{entry.costs['params']:,.0f}",
        }
        found.append((latency.median_ms if latency else float("inf"), row))
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def figure(
    bench: Bench, known: Profiled, searched: Searched, proofs: Sequence[Proof], command: str
) -> FrontFigure:
    """All that the picture of a front shows."""
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
