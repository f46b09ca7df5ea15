"""What a network takes beside time: the bytes of its file, and the memory of a process that runs it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from hardware.measurement import Profile
from hardware.options import DeviceOptions, ProfileOptions
from hardware.peak_memory import peak_mib
from hardware.profiler import profile
from hardware.runners import OnnxRuntime, bytes_run, peak_of, runtimes
from hardware.sampling import spread
from supernet.elastic.inputs import Inputs
from tests.tiny import tiny_images, tiny_supernet

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the most that a process had")


def network(path: Path, mib: int) -> Path:
    """A file with so many MiB of weights, and hardly any activations: rows of 1,024 numbers to columns of them."""
    weight = numpy_helper.from_array(np.ones((1024, 256 * mib), np.float32), "weight")
    rows, columns = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y"))
    product = helper.make_node("MatMul", ["x", "weight"], ["y"])
    graph = helper.make_graph([product], "product", [rows], [columns], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@linux
def test_memory_grows_with_the_network_by_its_weights_at_least(tmp_path: Path) -> None:
    """They are there as read and once more, packed for the processor; only the latter is what a call needs."""
    row = [np.ones((1, 1024), np.float32)]
    small, large = (peak_mib(network(tmp_path / f"{mib}.onnx", mib), row, "all", 1) for mib in (1, 9))
    assert small is not None and large is not None
    assert 8 <= large - small <= 3 * 8
    assert 2 <= small < 24  # what Python, NumPy and ONNX Runtime hold before is twice that, and not counted


@linux
def test_memory_grows_with_what_a_call_holds_and_not_with_its_inputs(tmp_path: Path) -> None:
    """4,096 rows are 16 MiB of input; each gives 256 numbers, 4 MiB together."""
    path = network(tmp_path / "x.onnx", 1)
    few, many = (peak_mib(path, [np.ones((rows, 1024), np.float32)], "all", 1) for rows in (1, 4096))
    assert few is not None and many is not None
    assert 4 <= many - few <= 3 * 4


def test_memory_is_not_available_where_the_process_fails(tmp_path: Path) -> None:
    assert peak_mib(tmp_path / "missing.onnx", [], "all", 1) is None
    eager = runtimes["torch"](DeviceOptions(runtime="torch"))
    assert peak_of(eager, nn.Identity(), None, Inputs.of(tiny_images(1))) is None


def test_a_profile_knows_the_size_of_every_file_that_was_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = tiny_supernet()
    archs = spread(net.space, 3)
    files = {arch.id: network(tmp_path / f"{i}.onnx", i + 1) for i, arch in enumerate(archs)}
    options = ProfileOptions(subnets=3, seconds=0.1, warm_calls=1, warm_ms=0, rounds=1, burst=3)
    asked: list[Path] = []

    def told(runtime: OnnxRuntime, module: nn.Module, file: Path, inputs: Inputs) -> float:
        asked.append(file)
        return 12.5

    monkeypatch.setattr(OnnxRuntime, "peak_mib", told)

    def run(folder: str, against: Profile | None = None, **more: bool) -> Profile:
        inputs = Inputs.of(tiny_images()[:, 0, 0, :1].expand(-1, 1024))
        asked_for = replace(options, **more)
        return profile(net, archs, inputs, tmp_path / folder, options=asked_for, files=files, against=against)

    found = run("a")
    largest = files[net.space.largest().id]
    assert {m.arch: m.file_bytes for m in found.measurements} == {
        name: path.stat().st_size for name, path in files.items()
    }
    assert found.peak_mib == 12.5 and asked == [largest]
    assert Profile.load(tmp_path / "a" / "profile.json") == found
    assert run("b", against=found).peak_mib == 12.5 and len(asked) == 1  # the reference is measured once
    assert {m.peak_mib for m in found.measurements} == {None}
    every = run("c", against=found, memory=True)
    assert set(asked[1:]) == set(files.values()) and {m.peak_mib for m in every.measurements} == {12.5}
    assert Profile.load(tmp_path / "c" / "profile.json") == every
    assert run("a", memory=True) == found  # a profile that is there is read as it is


def test_a_runtime_that_reads_no_file_has_no_size_and_one_in_eight_bits_that_of_its_own(
    tmp_path: Path,
) -> None:
    path, small = network(tmp_path / "x.onnx", 1), tmp_path / "x.u8s8.onnx"
    small.write_bytes(b"123")
    sizes = [
        bytes_run(runtimes[options.runtime](options), path)
        for options in (DeviceOptions(), DeviceOptions(precision="u8s8"), DeviceOptions(runtime="torch"))
    ]
    assert sizes == [path.stat().st_size, 3, None]
