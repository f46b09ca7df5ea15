"""Small entries to publish: an ONNX file of one matrix product, and a manifest around it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from supernet.preprocessing import ImagePreprocessing
from supernet.space import Choice, SearchSpace
from zoo.store import LocalStore
from zoo.store.manifest import (
    DatasetRecord,
    DeviceRecord,
    LicenceRecord,
    Manifest,
    MetricRecord,
    RecipeRecord,
    SpaceRecord,
    describe_architecture,
)
from zoo.store.publish import publish

SPACE = SearchSpace((Choice("depth", (1, 2)), Choice("width", (8, 16, 24))))
WEIGHTS = "ab" * 32
CLASSES = ("cat", "dog", "eel")
PREPROCESS = ImagePreprocessing.plain(8, 1).to_json()


def onnx_file(path: Path, genes: tuple[int, ...] = (0, 0), width: int = 3) -> Path:
    """Logits are the images times a fixed matrix ``(4, width)``."""
    weight = np.arange(4 * width, dtype=np.float32).reshape(4, width)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "weight"], ["output"])],
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    properties = {
        "architecture": json.dumps(genes),
        "weights_sha256": WEIGHTS,
        "preprocess": json.dumps(PREPROCESS, sort_keys=True),
        "classes": json.dumps(CLASSES),
    }
    helper.set_model_props(model, properties)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def manifest(
    entry: str = "digits-a",
    *,
    accuracy: float = 97.0,
    ms: float = 1.0,
    params: float = 1000,
    device: str = "desk",
) -> Manifest:
    """A complete manifest without files."""
    return Manifest(
        id=entry,
        kind="subnet",
        task="image-classification",
        parent="digits-supernet",
        space=SpaceRecord(name="tiny", fingerprint=SPACE.fingerprint, log10_size=SPACE.log10_size),
        architecture=describe_architecture(SPACE, SPACE.smallest()),
        weights_sha256=WEIGHTS,
        files=(),
        licences=LicenceRecord(weights="Apache-2.0", data="CC-BY-4.0"),
        dataset=DatasetRecord(name="digits", splits={"train": 10, "test": 5}, preprocess=PREPROCESS, classes=CLASSES),
        recipe=RecipeRecord(strategy="sandwich", epochs=3, seeds=(0,), config_sha256="cd" * 32),
        metrics=(
            MetricRecord(
                dataset="digits",
                split="test",
                metric="accuracy",
                value=accuracy,
                unit="%",
                sense="max",
                n=360,
                ci=(95.0, 99.0),
            ),
        ),
        costs={"params": params, "macs": 10 * params},
        devices=(
            DeviceRecord(
                device={"id": f"id-{device}", "name": device}, median_ms=ms, p10_ms=0.9 * ms, p90_ms=1.2 * ms,
                runs=100, date="2026-01-01", method="bursts beside a reference", predicted_ms=1.1 * ms,
            ),
        ),
        versions={"torch": "2.15", "onnxruntime": "1.31"},
        opset=18,
        date="2026-01-01",
    )  # fmt: skip


def store(folder: Path, *entries: Manifest) -> LocalStore:
    """A store with these entries, each with the same ONNX file."""
    made = LocalStore(folder / "zoo")
    for entry in entries:
        publish(made, entry, {"model.onnx": onnx_file(folder / "made" / f"{entry.id}.onnx")})
    return made
