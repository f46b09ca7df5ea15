"""What came out of a step, said to a person: sentences and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, inf, nan

from search.options import SearchOptions
from search.report import rows
from supernet.config import decode
from supernet.elastic.supernet import Supernet
from supernet.options import title
from supernet.presets import presets
from supernet.sensitivity import prices
from supernet.settings import Setting
from supernet.space import Architecture
from supernet.splitting import Split
from supernet.stages import Stage, stages
from supernet.tasks.task import Dataset, Metric, Task
from supernet.trainer import Trainer
from supernet.weights import Fitted
from supernet.wording import alike, counted
from zoo.cli.narrator import Narrator
from zoo.cli.profile_printing import say_busy
from zoo.pipeline.faster import NOT_FASTER
from zoo.pipeline.find import Known
from zoo.pipeline.kept import kept, weights_of
from zoo.pipeline.offered import offer_of
from zoo.pipeline.parts import Part
from zoo.pipeline.pick import Picked
from zoo.pipeline.profiling import Profiled
from zoo.pipeline.prove import Proof
from zoo.pipeline.run import Run
from zoo.pipeline.searching import ARCHIVE, Searched
from zoo.pipeline.settings import Found
from zoo.pipeline.study import Study
from zoo.pipeline.workspace import Workspace
from zoo.store.manifest import DeviceRecord, Manifest, MetricRecord

BAR = 18
"""Letters of the longest bar."""


def print_kept(run: Run, step: str, narrator: Narrator) -> None:
    """What an earlier call of a step left, from which it goes on; nothing when it begins."""
    words = kept(run).get(step)
    if words:
        narrator.say(f"Kept from before: {words}.")


def print_outdated(run: Run, before: str | None, narrator: Narrator) -> None:
    """What rests on the weights that a training has just replaced.

    Args:
        before: hash of the weights there were.
    """
    if before not in (None, weights_of(run)) and (run.search / ARCHIVE).exists():
        narrator.say(
            f"{run.search} is a search among the earlier weights: the next one evaluates networks anew, with these; "
            "the profile still holds."
        )


def print_data(data: Dataset, narrator: Narrator) -> None:
    """How the examples are split, and what a person should know of them."""
    narrator.say(
        f"{title(data.name)}: {data.count('train'):,} examples to train on, {data.count('search'):,} to search "
        f"on, {data.count('test'):,} that nobody sees until the end."
    )
    for note in data.notes:
        narrator.say(f"Note: {note}.")


def print_offer(run: Run, task: Task, narrator: Narrator) -> None:
    """Which kinds of cuts a study of the pretrained network chose, and by what; nothing where there was none."""
    found = offer_of(run)
    if found is None:
        return
    costs = [f"{kind} {price:.2g}" for kind, price in prices(list(found.cuts)).items()]
    narrator.say(
        f"Elastic: {', '.join(found.dims)}. Cuts of the pretrained network cost, in {task.measures[0].name} for all of "
        f"its MACs: {', '.join(costs)}; as few kinds as make networks of half its size are offered, the cheapest first "
        f"(supernet.offer=all offers everything, supernet.options.dims what it names)."
    )


def print_beginning(trainer: Trainer, narrator: Narrator) -> None:
    """Which weights a training began with, and how its units were sorted; nothing of fresh ones."""
    began = (trainer.supernet.origin or {}).get("weights", {})
    if "sha256" in began:
        narrator.say(f"Began with {decode(began, Fitted)}.")
    if trainer.reordered:
        by, examples = trainer.reordered["by"], trainer.reordered["examples"]
        told = f" on {counted(examples, 'training example')}" if examples else ""
        narrator.say(
            f"Units were sorted by importance ({by}{told}), so that narrow subnets keep what matters."
        )
    if trainer.memory is not None:
        narrator.say(f"Within train.memory, {trainer.memory}.")
    if trainer.record.teacher_share is not None:
        narrator.say(
            f"Every lesson also learnt from a teacher ({trainer.options.teacher}), whose training and answers took "
            f"{trainer.record.teacher_share:.0%} of the multiply-adds."
        )


def print_parts(found: Split, made: Sequence[Part], narrator: Narrator) -> None:
    """What a run was split into, and how to go on."""
    narrator.say(f"The values of {found.choice} agree least ({found.agreement:.2f} between the parts).")
    for part in made:
        values = ", ".join(map(str, part.values))
        narrator.say(f"{part.run.folder}: {found.choice} {values}; 10^{part.log10_size:.1f} networks")
    narrator.say(f"Next: {made[0].run.command('train')}, and so for each")


def print_study(run: Run, found: Study, task: Task, narrator: Narrator) -> None:
    """What each kind of cut costs, then each choice at its smallest, and which kinds to offer."""
    ranked, told = task.ranked_by, task.measures[0]
    whole, *cuts = found.cuts
    narrator.say(
        f"Judged on the search split: {found.of}; {told.name} {told.show(whole.score)}, {ranked.name} "
        f"{ranked.show(whole.loss)} when nothing is cut."
    )
    for title_, kept_ in (
        ("one kind cut, all else whole", [cut for cut in cuts if not cut.choice]),
        (
            "one choice at its smallest",
            sorted((cut for cut in cuts if cut.choice), key=lambda cut: cut.worse),
        ),
    ):
        worse, scores = alike([cut.worse for cut in kept_], 3), alike([cut.score for cut in kept_], 3)
        narrator.table(
            title_,
            [
                {
                    "cut": cut.choice or f"{cut.kind}, {_left(cut.share)}",
                    "MACs": f"{cut.macs:.0%}",
                    "params": f"{cut.params:.0%}",
                    f"{ranked.name} worse by": more,
                    told.name: score,
                }
                for cut, more, score in zip(kept_, worse, scores)
            ],
        )
    narrator.say(f"From the cheapest cut to the dearest, for the MACs it saves: {', '.join(found.dims)}.")
    offered = found.worthwhile
    if offered and len(found.dims) > 1 and run.options.supernet.model not in presets:
        named = ", ".join(f'"{kind}"' for kind in offered)
        narrator.say(
            f"Worth offering: {', '.join(offered)}. To offer that and nothing else: "
            f"--set supernet.options.dims='[{named}]' in a new run."
        )


def _left(share: float) -> str:
    return f"{share:.0%} of its range" if share else "smallest"


def print_limits(
    options: SearchOptions, narrator: Narrator, devices: Sequence[str] = ("",), *, kept: bool = True
) -> None:
    """Which limits are in force, when any are, for some devices of a run; and that they are kept with it, if so."""
    words = limits({device: options.max_latency_on(device) for device in devices}, options.max_params)
    if words:
        rest = " (they are kept with the run; --no-limits clears them)" if kept else ""
        narrator.say(f"Limits in force: {words}{rest}.")


def limits(max_latency_ms: Mapping[str, float | None], max_params: float | None) -> str:
    """Limits in words, those on latencies by device; nothing where there are none."""
    words = [
        f"latency{device and ' on '}{device} <= {limit:g} ms"
        for device, limit in max_latency_ms.items()
        if limit is not None
    ]
    if max_params is not None:
        words.append(f"params <= {max_params:,.15g}")
    return " and ".join(words)


def print_front(known: Profiled, searched: Searched, narrator: Narrator) -> None:
    """The front of a device as a table."""
    of = f" on {known.name}" if known.name else ""
    shown = [goal for goal in searched.result.objectives if not goal.name.startswith(NOT_FASTER)]
    narrator.table(f"the front{of} (search split)", rows(searched.result.front, shown))


def looked_at(searched: Searched) -> str:
    """How much the search had to look at, in a sentence."""
    found = searched.result
    failed = f" {counted(found.failed, 'network')} could not be evaluated." if found.failed else ""
    now = (
        "now" if found.scored == found.paid else f"{found.scored} of them now, the others were in the archive"
    )
    return f"{counted(found.paid, 'network')} evaluated ({now}), {len(found.front)} on the front.{failed}"


def print_remark(chosen: Picked, narrator: Narrator) -> None:
    """What a person should know of the networks that were chosen, when there is something."""
    if chosen.remark:
        narrator.say(f"Note: {chosen.remark}.")


def print_proofs(proofs: Sequence[Proof], narrator: Narrator) -> None:
    """What was proven of the chosen networks."""
    narrator.table("the chosen ones, re-estimated, cut out, exported, measured", proof_rows(proofs))
    say_busy(narrator, [proof.measured for proof in proofs])
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


def within(entries: Sequence[Manifest], device: str | None, max_latency_ms: float | None) -> list[Manifest]:
    """The entries that were measured on a device and are as fast as asked, fastest first."""
    known = [(entry, _latency(entry, device)) for entry in entries]
    kept = [
        (latency.median_ms if latency else inf, entry)
        for entry, latency in known
        if (latency or device is None)
        and (max_latency_ms is None or (latency and latency.median_ms <= max_latency_ms))
    ]
    return [entry for _, entry in sorted(kept, key=lambda pair: pair[0])]


def _latency(entry: Manifest, device: str | None) -> DeviceRecord | None:
    return entry.latency(device) if device else next(iter(entry.devices), None)


def entry_rows(entries: Sequence[Manifest], device: str | None) -> list[dict[str, str]]:
    """Entries as rows of a table."""
    latencies = [_latency(entry, device) for entry in entries]
    times = alike([latency.median_ms if latency else nan for latency in latencies])
    return [
        {
            "entry": entry.id,
            "test": _shown(entry.metric()),
            "median ms": ms,
            "device": latency.device["name"] if latency else "",
            "parameters": f"{entry.costs['params']:,.0f}",
        }
        for entry, latency, ms in zip(entries, latencies, times)
    ]


def print_architecture(workspace: Workspace, arch: Architecture, known: Known, narrator: Narrator) -> None:
    """What a subnet costs and is worth, and its stages drawn beside those of the largest."""
    cost, task = known.cost, workspace.dataset.task
    narrator.say(
        f"{arch.id}: {cost.params:,} parameters, {cost.macs:,} multiply-adds, "
        f"{cost.weight_bytes / 1024:,.0f} KiB of weights, {cost.peak_activation_bytes / 1024:,.0f} KiB of "
        "activations at most"
    )
    where = f"latency on {known.device}" if known.device else "latency"
    if known.predicted is not None:
        of, level = known.predicted, known.predicted.level
        mean, low, high = (float(value[0]) for value in (of.mean, of.low, of.high))
        narrator.say(f"{where}: {mean:.3g} ms predicted, {low:.3g} to {high:.3g} in {level:.0%} of cases")
    if known.measured is not None:
        size = known.measured.file_bytes
        file = "" if size is None else f", with a file of {size / 1024:,.0f} KiB"
        if (peak := known.measured.peak_mib) is not None:
            file += f" and {peak:,.1f} MiB of memory at most"
        narrator.say(f"{where}: {known.measured.median_ms:.3g} ms measured ± {known.measured.ci:.1%}{file}")
    told = [f"{m.name} {m.show(known.values[m.name])}" for m in task.measures if m.name in known.values]
    if told:
        narrator.say(f"on the search split: {', '.join(told)}")
    rows = stage_rows(workspace.net, arch)
    narrator.table("stage by stage, beside the largest", rows, text=("width (and kernel) of each", ""))


def stage_rows(net: Supernet, arch: Architecture) -> list[dict[str, str]]:
    """The stages of a subnet as rows of a table; a bar is its multiply-adds, light what the largest has more."""
    whole, own = stages(net, net.space.largest()), {stage.path: stage for stage in stages(net, arch)}
    most = max(stage.macs for stage in whole) or 1
    return [_stage_row(largest, own.get(largest.path), most) for largest in whole]


def _stage_row(largest: Stage, stage: Stage | None, most: int) -> dict[str, str]:
    macs = stage.macs if stage else 0
    dark, both = (ceil(BAR * count / most) for count in (macs, largest.macs))
    return {
        "stage": largest.path or "(the network)",
        "blocks": f"{len(stage.blocks) if stage else 0} of {len(largest.blocks)}",
        "width (and kernel) of each": ", ".join(map(str, stage.blocks)) if stage else "left out",
        "output": " x ".join(map(str, stage.output)) if stage else "",
        "params": f"{stage.params:,}" if stage else "0",
        "MACs": f"{macs:,}",
        "": "█" * dark + "░" * (both - dark),
    }


def print_settings(found: Found, narrator: Narrator) -> None:
    """Options as tables, one for each section, and the names that the only one can be."""
    sections: dict[str, list[Setting]] = {}
    for row in found.rows:
        sections.setdefault(f"{row.key.partition('.')[0]}{f' ({row.of})' if row.of else ''}", []).append(row)
    for section, settings in sections.items():
        narrator.table(
            section,
            [
                {"key": s.key, "accepts": s.accepts, "default": s.default, "meaning": s.meaning}
                for s in settings
            ],
            text=("accepts", "default", "meaning"),
        )
    if found.names:
        narrator.say(f"{found.rows[0].key} can be: {', '.join(found.names)}")
