"""From a proof to a published entry: every number with where it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from math import sqrt
from typing import Any

from msgspec import UNSET

from hardware.export import OPSET
from hardware.measurement import Profile
from supernet.config import to_toml
from supernet.data import SPLITS
from supernet.elastic.storage import WEIGHTS as SUPERNET_WEIGHTS
from supernet.evaluate import Result
from supernet.options import title
from supernet.tasks.task import Dataset, Score
from zoo.pipeline.prove import ONNX, WEIGHTS, Proof
from zoo.pipeline.run import Run
from zoo.pipeline.workspace import Workspace
from zoo.store import MissingError, open_store
from zoo.store.manifest import (
    CalibrationRecord,
    DatasetRecord,
    DeviceRecord,
    LicenceRecord,
    Manifest,
    MetricRecord,
    ParityRecord,
    RecipeRecord,
    SpaceRecord,
    TensorRecord,
    describe_architecture,
    hash_file,
)
from zoo.store.publish import publish
from zoo.store.pull import manifests

LIBRARIES = ("supernet", "torch", "timm", "onnx", "onnxscript", "onnxruntime")


def publish_proofs(workspace: Workspace, proofs: list[Proof], profile: Profile) -> list[Manifest]:
    """Publish each proven subnet in the run's store.

    An entry is immutable: where the same network, byte for byte, is published already with a measurement on this
    device, that entry stays. Where it was measured on other devices only, it is published beside, under an id of its
    own, with what was measured there and here.

    Raises:
        StateError: when the store cannot be written to, or is damaged.
    """
    store = open_store(workspace.run.store)
    try:
        known = {entry.id: entry for entry in manifests(store)}
    except MissingError:
        known = {}
    published = []
    for proof in {proof.arch: proof for proof in proofs}.values():
        files = {ONNX: proof.folder / ONNX, WEIGHTS: proof.folder / WEIGHTS}
        name = entry_id(workspace.run, proof)
        same = [entry for entry in known.values() if entry.id.startswith(name)]
        there = next((entry for entry in same if entry.latency(profile.device.id)), None)
        published.append(there or publish(store, manifest(workspace, proof, profile, same), files))
    return published


def manifest(workspace: Workspace, proof: Proof, profile: Profile, same: Sequence[Manifest] = ()) -> Manifest:
    """All that is known of a proven subnet.

    Args:
        same: what was published of it before, measured on other devices.
    """
    others = {device.device["id"]: device for entry in same for device in entry.devices}
    run, space, data = workspace.run, workspace.net.space, workspace.dataset
    return Manifest(
        id=f"{entry_id(run, proof)}-{profile.device.id}" if same else entry_id(run, proof),
        kind="subnet",
        task=data.task.name,
        parent=hash_file(run.supernet / SUPERNET_WEIGHTS),
        space=SpaceRecord(
            name=title(run.options.supernet.model),
            fingerprint=space.fingerprint,
            log10_size=space.log10_size,
        ),
        architecture=describe_architecture(space, proof.arch),
        weights_sha256=proof.weights_sha256,
        files=(),
        licences=LicenceRecord(weights=run.options.zoo.licence, data=run.options.zoo.data_licence),
        dataset=_dataset(data, workspace.preprocess(proof.arch)),
        recipe=RecipeRecord(
            strategy=run.options.train.strategy,
            epochs=run.options.train.epochs,
            restarts=run.options.train.restarts or UNSET,
            seeds=(run.options.train.seed, run.options.search.seed),
            config_sha256=hashlib.sha256(to_toml(run.options).encode()).hexdigest(),
        ),
        metrics=(*_metrics(data, "search", proof.search), *_metrics(data, "test", proof.test)),
        costs={"params": proof.params, "macs": proof.macs, "onnx_bytes": proof.onnx.size_bytes},
        versions={name: version(name) for name in LIBRARIES},
        devices=(*others.values(), _device(proof, profile)),
        calibration=CalibrationRecord(
            split="train",
            examples=run.options.train.calibration_examples,
            method="cumulative mean and biased variance, shuffled examples",
        ),
        parity=ParityRecord(
            runtime=f"onnxruntime {version('onnxruntime')}",
            max_abs=proof.parity.max_abs,
            max_relative=proof.parity.max_relative,
            batches=proof.parity.batches,
        ),
        opset=OPSET,
        inputs=tuple(TensorRecord(**vars(port)) for port in proof.onnx.inputs),
        outputs=tuple(TensorRecord(**vars(port)) for port in proof.onnx.outputs),
        date=proof.measured.date[:10],
    )


def entry_id(run: Run, proof: Proof) -> str:
    """Model, architecture and weights: equal for equal networks, another for any other."""
    model = "".join(c if c.isalnum() else "-" for c in title(run.options.supernet.model).lower())
    return f"{model}-{proof.arch.id}-{proof.onnx.sha256[:8]}"


def _dataset(data: Dataset, preprocess: dict[str, Any]) -> DatasetRecord:
    return DatasetRecord(
        name=title(data.name),
        splits={name: data.count(name) for name in SPLITS},
        preprocess=preprocess,
        classes=getattr(data.task, "classes", ()),
    )


def _metrics(data: Dataset, split: str, found: Result) -> list[MetricRecord]:
    return [
        MetricRecord(
            dataset=title(data.name),
            split=split,
            metric=score.metric.name,
            value=score.value,
            unit=score.metric.unit,
            sense=score.metric.sense,
            n=found.examples,
            ci=wilson(score) if score.is_share and int(score.count) == found.examples else None,
        )
        for score in found.scores
    ]


def wilson(score: Score, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share in percent (Wilson 1927)."""
    n, p = int(score.count), score.value / 100
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)


def _device(proof: Proof, profile: Profile) -> DeviceRecord:
    m = proof.measured
    return DeviceRecord(
        device=profile.device.to_json(),
        median_ms=m.median_ms,
        p10_ms=m.p10_ms,
        p90_ms=m.p90_ms,
        runs=m.runs,
        date=m.date,
        method=m.method,
        predicted_ms=float(proof.predicted.mean[0]),
    )
