"""An export in eight bits: the types that are fastest, and what the file itself is worth."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import TensorDataset

from hardware.export import export_onnx
from hardware.options import DeviceOptions, ProfileOptions
from hardware.quantise import FileNetwork
from supernet import DataOptions, TrainOptions, from_dataset
from supernet.errors import ConfigError
from supernet.evaluate import Evaluator
from tests.tiny import tiny_images, tiny_supernet
from zoo.cli.documents import in_eight_bits
from zoo.pipeline import eight_bits as module
from zoo.pipeline.eight_bits import eight_bits

QUICK = ProfileOptions(burst=3, drop=1, rounds=1, warm_calls=1, warm_ms=0)


def workspace(device: DeviceOptions) -> SimpleNamespace:
    net = tiny_supernet()
    images = torch.rand(90, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(90) % 10
    data = from_dataset(TensorDataset(images, labels), classes=tuple("abcdefghij"), options=DataOptions())
    run = SimpleNamespace(
        device=lambda name: device, options=SimpleNamespace(train=TrainOptions(), profile=QUICK)
    )
    return SimpleNamespace(run=run, net=net, dataset=data)


def proof(work: SimpleNamespace, folder: Path) -> SimpleNamespace:
    arch = work.net.space.smallest()
    file = export_onnx(work.net.extract(arch).eval(), tiny_images(), folder / "model.onnx")
    return SimpleNamespace(
        name="knee", arch=arch, folder=folder, onnx=file, measured=SimpleNamespace(median_ms=2.0)
    )


@pytest.mark.slow
def test_the_fastest_types_are_taken_and_the_file_is_judged_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fastest_types", lambda *given: {"s8s8": 0.5, "u8s8": 0.75})
    work = workspace(DeviceOptions())
    (found,) = eight_bits(work, SimpleNamespace(name=""), [proof(work, tmp_path)])  # type: ignore[arg-type, list-item]
    assert (found.types, found.ms, found.path) == ("s8s8", 1.0, tmp_path / "model.int8.onnx")
    assert found.size_bytes == found.path.stat().st_size
    judge = Evaluator(work.net, work.dataset, "test")
    assert found.test == judge.of(FileNetwork(found.path))
    assert found.test["log loss"] != judge.of(FileNetwork(tmp_path / "model.onnx"))["log loss"]
    (row,) = in_eight_bits([found])["int8"]
    assert row["types"] == "s8s8" and row["test"]["metrics"]["log loss"]["value"] == found.test["log loss"]


@pytest.mark.parametrize(
    "device", [DeviceOptions(runtime="torch"), DeviceOptions(address="http://localhost:1")]
)
def test_where_types_cannot_be_timed_it_is_said_why(device: DeviceOptions, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave out --int8"):
        eight_bits(workspace(device), SimpleNamespace(name=""), [])  # type: ignore[arg-type]
