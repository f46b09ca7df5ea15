"""What came out of a step, said to a person: sentences and tables."""

from __future__ import annotations

from collections.abc import Sequence

from search.options import SearchOptions
from search.report import rows
from supernet.options import title
from supernet.tasks.task import Dataset, Metric
from supernet.wording import alike, counted
from zoo.cli.narrator import Narrator
from zoo.pipeline.kept import kept
from zoo.pipeline.pick import Picked
from zoo.pipeline.prove import Proof
from zoo.pipeline.run import Run
from zoo.pipeline.steps import Profiled, Searched
from zoo.store.manifest import Manifest, MetricRecord


def print_kept(run: Run, step: str, narrator: Narrator) -> None:
    """What an earlier call of a step left, from which it goes on; nothing when it begins."""
    words = kept(run).get(step)
    if words:
        narrator.say(f"Kept from before: {words}.")


def print_data(data: Dataset, narrator: Narrator) -> None:
    """How the examples are split, and what a person should know of them."""
    narrator.say(
        f"{title(data.name)}: {data.count('train'):,} examples to train on, {data.count('search'):,} to search "
        f"on, {data.count('test'):,} that nobody sees until the end."
    )
    for note in data.notes:
        narrator.say(f"Note: {note}.")


def print_profile(known: Profiled, narrator: Narrator) -> None:
    """What was measured, how well it repeats, and how far the predictor is off."""
    found, off = known.profile, known.validation
    low, high = found.median_ms.min(), found.median_ms.max()
    narrator.say(
        f"{found.device.name}, {found.device.runtime} {found.device.version}, {counted(found.device.threads, 'thread')}"
    )
    narrator.say(
        f"{counted(len(found.measurements), 'subnet')} took {low:.3f} to {high:.3f} ms; measured twice they differ by "
        f"{found.repeat.mean:.1%}; {found.drifts} of {counted(found.windows, 'window')} "
        f"were measured again because the machine drifted."
    )
    narrator.say(f"The predictor, on subnets it has not seen: {off}.")


def print_limits(options: SearchOptions, narrator: Narrator) -> None:
    """Which limits are in force, when any are."""
    words = limits(options.max_latency_ms, options.max_params)
    if words:
        narrator.say(f"Limits in force: {words} (they are kept with the run; --no-limits clears them).")


def limits(max_latency_ms: float | None, max_params: float | None) -> str:
    """Limits in words; nothing where there are none."""
    latency = f"latency <= {max_latency_ms:g} ms" if max_latency_ms is not None else ""
    params = f"params <= {max_params:,.15g}" if max_params is not None else ""
    return " and ".join(filter(None, (latency, params)))


def print_front(searched: Searched, narrator: Narrator) -> None:
    """The front as a table, and how it was found."""
    narrator.say(looked_at(searched))
    narrator.table("the front (search split)", rows(searched.result.front, searched.result.objectives))


def looked_at(searched: Searched) -> str:
    """How much the search had to look at, in a sentence."""
    found = searched.result
    return (
        f"{counted(found.paid, 'network')} evaluated ({found.scored} of them now, the others were in the archive), "
        f"{len(found.front)} on the front."
    )


def print_remark(chosen: Picked, narrator: Narrator) -> None:
    """What a person should know of the networks that were chosen, when there is something."""
    if chosen.remark:
        narrator.say(f"Note: {chosen.remark}.")


def print_proofs(proofs: Sequence[Proof], narrator: Narrator) -> None:
    """What was proven of the chosen networks."""
    narrator.table("the chosen ones, re-estimated, cut out, exported, measured", proof_rows(proofs))
    narrator.say(
        f"Inside the supernet against cut out: largest difference {max(p.exact for p in proofs):g}. "
        f"ONNX Runtime against PyTorch: {max(p.parity.max_relative for p in proofs):.1e} relative, "
        f"at batches of {', '.join(map(str, proofs[0].parity.batches))}."
    )


def proof_rows(proofs: Sequence[Proof]) -> list[dict[str, str]]:
    """Proofs as rows of a table."""
    measured = alike([proof.measured.median_ms for proof in proofs], 3)
    bounds = [float(v[0]) for p in proofs for v in (p.predicted.mean, p.predicted.low, p.predicted.high)]
    predicted = iter(alike(bounds, 3))
    return [
        {
            "": proof.name,
            "network": proof.arch.id,
            "test": str(proof.test),
            "measured ms": f"{ms} ± {proof.measured.ci:.1%}",
            "predicted ms": f"{next(predicted)} [{next(predicted)}, {next(predicted)}]",
            "params": f"{proof.params:,}",
            "MACs": f"{proof.macs:,}",
            "KiB": f"{proof.onnx.size_bytes / 1024:.0f}",
        }
        for proof, ms in zip(proofs, measured)
    ]


def _shown(metric: MetricRecord | None) -> str:
    if metric is None:
        return ""
    return f"{metric.metric} {Metric(metric.metric, metric.unit, metric.sense).show(metric.value)}"


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
            "test": _shown(entry.metric()),
            "median ms": f"{latency.median_ms:.3f}" if latency else "",
            "device": latency.device["name"] if latency else "",
            "parameters": f"{entry.costs['params']:,.0f}",
        }
        found.append((latency.median_ms if latency else float("inf"), row))
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]
