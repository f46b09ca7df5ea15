"""What every registered runtime promises."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from hardware import onnx_session
from hardware.errors import ExportError
from hardware.export import export_onnx
from hardware.options import DeviceOptions
from hardware.runners import runtimes
from supernet.elastic.inputs import Inputs
from tests.tiny import tiny_images, tiny_supernet


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = tiny_supernet()
    path = tmp_path_factory.mktemp("onnx") / "x.onnx"
    return export_onnx(net.extract(net.space.smallest()), tiny_images(), path).path


@pytest.mark.parametrize("name", list(runtimes))
def test_a_runtime_says_what_it_is_and_times_every_call(name: str, file: Path) -> None:
    net = tiny_supernet()
    runtime = runtimes[name](DeviceOptions())
    for said in (runtime.version, runtime.provider, runtime.optimisation, runtime.precision):
        assert type(said) is str and said
    runner = runtime.load(
        net.extract(net.space.smallest()), file if runtime.reads_onnx else None, Inputs.of(tiny_images(1))
    )
    times = runner.burst(4)
    assert len(times) == 4
    assert all(type(nanoseconds) is int for nanoseconds in times)


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_every_call_is_timed_from_its_start_to_its_end(
    name: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = tiny_supernet()
    alone = net.extract(net.space.smallest())
    runner = runtimes[name](DeviceOptions()).load(alone, file, Inputs.of(tiny_images(1)))
    clock = itertools.accumulate(itertools.count(1))
    monkeypatch.setattr(onnx_session, "perf_counter_ns", lambda: next(clock))
    # 1, 3, 6, 10, 15, 21: a clock whose every tick is longer than the last tells which two a call lies between
    assert runner.burst(3) == [2, 4, 6]


def test_a_file_that_is_no_network_ends_in_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"not a network")
    net = tiny_supernet()
    with pytest.raises(ExportError, match="cannot load"):
        runtimes["onnxruntime"](DeviceOptions()).load(net, tmp_path / "x.onnx", Inputs.of(tiny_images(1)))
