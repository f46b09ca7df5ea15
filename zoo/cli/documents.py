"""What came out of a step, as a document for programs: what ``--json`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from search.archive import Evaluation
from search.common import Trait
from search.engine import SearchResult
from search.front import standing
from search.objective import Objective
from supernet.errors import SupernetError
from supernet.evaluate import Result
from supernet.space import Architecture, SearchSpace
from supernet.splitting import Split
from supernet.trainer import Trainer
from zoo.pipeline.eight_bits import EightBits
from zoo.pipeline.parts import Part
from zoo.pipeline.pick import Picked
from zoo.pipeline.profiling import Profiled
from zoo.pipeline.prove import Proof
from zoo.pipeline.run import Run
from zoo.pipeline.searching import Searched
from zoo.pipeline.study import Study
from zoo.store.manifest import Manifest
from zoo.store.pull import Pulled

Document = dict[str, Any]


def trained(run: Run, trainer: Trainer) -> Document:
    """A training: where the supernet lies, how many networks it holds, what was seen after each epoch."""
    space = trainer.supernet.space
    return {
        "run": run.folder,
        "supernet": run.supernet,
        "space": {
            "fingerprint": space.fingerprint,
            "choices": len(space),
            "log10_size": space.log10_size,
        },
        "metric": trainer.task.measures[0],
        "epochs": trainer.history,
    }


def studied(run: Run, found: Study) -> Document:
    """What cuts cost: the largest network first, then every cut, and the kinds from the cheapest to the dearest."""
    return {"run": run.folder, "of": found.of, "dims": found.dims, "cuts": found.cuts}


def parts(run: Run, found: Split, made: Sequence[Part]) -> Document:
    """What a run was split into."""
    held = [{"run": part.run.folder, "values": part.values, "log10_size": part.log10_size} for part in made]
    return {"run": run.folder, "choice": found.choice, "agreement": found.agreement, "parts": held}


def profiled(run: Run, known: Profiled, figure: Path) -> Document:
    """A profile: what was measured, and how far predictions without it are off."""
    document = known.profile.to_json()
    rates = known.profile.examples_per_s.tolist()
    return {
        "run": run.folder,
        **document,
        "measurements": [m | {"examples_per_s": rate} for m, rate in zip(document["measurements"], rates)],
        "model": known.predictor.model,
        "held_out": known.held_out,
        "validation": known.validation,
        "regions": known.regions,
        "figure": figure,
    }


def profiles(
    run: Run, found: Sequence[tuple[Profiled, Path]], failed: Mapping[str, SupernetError]
) -> Document:
    """What was profiled: a profile where it is of the run's own device, else each under the name of its device."""
    if found and not found[0][0].name:
        return profiled(run, *found[0])
    devices = {known.name: profiled(run, known, figure) for known, figure in found}
    return {"run": run.folder, "devices": devices, "failed": {name: str(why) for name, why in failed.items()}}


def fronts(
    run: Run, found: Searched, seen: Sequence[tuple[Profiled, Searched, Picked, Path, Sequence[Trait]]]
) -> Document:
    """A search: as `searched` where it is for the run's own device, else so for each under its name, and together.

    Args:
        seen: each device with what it sees of the search, three networks for it, the picture, and what is common.
    """
    if not seen[0][0].name:
        return searched(run, *seen[0])
    return {
        "run": run.folder,
        "evaluated": found.result.paid,
        "scored_now": found.result.scored,
        "front": _evaluations(found.result),
        "devices": {device[0].name: searched(run, *device) for device in seen},
    }


def searched(
    run: Run,
    known: Profiled,
    found: Searched,
    chosen: Picked,
    figure: Path | None = None,
    common: Sequence[Trait] = (),
) -> Document:
    """A search for a device: its front, every value in its unit, and those of baselines that were asked for."""
    result, limits = found.result, run.options.search
    return {
        "run": run.folder,
        **_named(known),
        "limits": {"max_latency_ms": limits.max_latency_on(known.name), "max_params": limits.max_params},
        "evaluated": result.paid,
        "scored_now": result.scored,
        "failed": result.failed,
        "ended": result.ended,
        "objectives": [
            {"name": o.name, "unit": o.unit, "sense": o.sense, "optimised": o.optimise}
            for o in result.objectives
        ],
        "front": _evaluations(result, known),
        "baseline_fronts": {name: _evaluations(one, known) for name, one in found.baselines.items()},
        "chosen": {name: arch.id for name, arch in chosen.archs.items()},
        "remark": chosen.remark,
        "figure": figure,
        "common": [
            {"stage": trait.stage, "kind": trait.kind, "usual": trait.usual, "share": trait.share}
            for trait in common
        ],
    }


def _evaluations(found: SearchResult, known: Profiled | None = None) -> list[Document]:
    """The networks of a front: values, and by what each limit is held."""
    return [
        {
            "network": e.arch.id,
            "genes": e.arch.genes,
            "values": e.values,
            "limits": _limits(e, found.objectives, known),
        }
        for e in found.front
    ]


def _limits(found: Evaluation, objectives: Sequence[Objective], known: Profiled | None) -> dict[str, str]:
    limits = standing(found, objectives)
    if known is not None and found.arch.id in known.verified and limits.get(known.latency) == "predicted":
        limits[known.latency] = "measured"
    return limits


def _named(known: Profiled) -> Document:
    """The device that a document is about, where it has a name in the run."""
    return {"device": known.name} if known.name else {}


def proven(run: Run, known: Profiled, proofs: Sequence[Proof], published: Sequence[Manifest]) -> Document:
    """Exported networks, each with its file, its checks and its measurements, and what was published."""
    return {
        "run": run.folder,
        **_named(known),
        "networks": [_proof(proof) for proof in proofs],
        "store": run.store,
        "published": [entry.id for entry in published],
    }


def in_eight_bits(found: Sequence[EightBits]) -> Document:
    """Files in eight bits, where some were asked for."""
    rows = [{**vars(one), "test": judged(one.test)} for one in found]
    return {"int8": rows} if rows else {}


def _proof(proof: Proof) -> Document:
    return {
        "name": proof.name,
        "network": proof.arch.id,
        "genes": proof.arch.genes,
        "onnx": proof.onnx,
        "weights_sha256": proof.weights_sha256,
        "inside_to_cut_out": proof.exact,
        "parity": proof.parity,
        "predicted": proof.predicted,
        "measured": proof.measured,
        "search": judged(proof.search),
        "test": judged(proof.test),
        "params": proof.params,
        "macs": proof.macs,
    }


def judged(result: Result) -> Document:
    """The metrics of a network, each with its unit."""
    return {
        "examples": result.examples,
        "metrics": {
            s.metric.name: {"value": s.value, "unit": s.metric.unit, "sense": s.metric.sense}
            for s in result.scores
        },
    }


def manifest(entry: Manifest) -> Document:
    """An entry of a zoo, as its ``manifest.json`` says."""
    found: Document = msgspec.to_builtins(entry)
    return found


def pulled(found: Pulled) -> Document:
    """An entry on this machine."""
    return {
        "entry": found.manifest.id,
        "folder": found.folder,
        "files": found.files,
        "manifest": manifest(found.manifest),
    }


def architecture(space: SearchSpace, arch: Architecture) -> Document:
    """An architecture: its id, its genes, and the values they stand for."""
    values: Mapping[str, Any] = space.decode(arch)
    return {"network": arch.id, "space": arch.space, "genes": arch.genes, "values": values}
