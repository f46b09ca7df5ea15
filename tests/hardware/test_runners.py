"""What every registered runtime promises."""

from __future__ import annotations

import itertools
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
import torch

from hardware import onnx_session, openvino_runner
from hardware.device import local_device
from hardware.errors import DeviceError, ExportError
from hardware.export import export_onnx
from hardware.options import EIGHT_BITS, DeviceOptions
from hardware.runners import Runtime, runtimes
from supernet.elastic.inputs import Inputs
from tests.tiny import tiny_images, tiny_supernet


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = tiny_supernet()
    path = tmp_path_factory.mktemp("onnx") / "x.onnx"
    return export_onnx(net.extract(net.space.smallest()), tiny_images(), path).path


SLOW = {"compiled": [pytest.mark.slow]}


def made(name: str, options: DeviceOptions | None = None) -> Runtime:
    """A runtime; the test is skipped where it is not installed."""
    try:
        return runtimes[name](options or DeviceOptions(runtime=name))
    except DeviceError as error:
        if any(lack in str(error) for lack in ("not installed", "compiler", "need an NVIDIA GPU")):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in runtimes])
def test_a_runtime_says_what_it_is_and_times_every_call(name: str, file: Path) -> None:
    net = tiny_supernet()
    runtime = made(name)
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


@pytest.mark.parametrize(("name", "module"), [("openvino", "openvino"), ("executorch", "executorch.runtime")])
def test_a_runtime_that_is_not_installed_names_the_extra(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DeviceError, match=rf"{name!r} is not installed.*pip install 'supernet\[{name}\]'"):
        runtimes[name](DeviceOptions(runtime=name))


@pytest.mark.parametrize("name", ["onnxruntime", "torch", "openvino", "cuda", "cuda_graph"])
def test_a_precision_that_a_runtime_lacks_is_refused_by_name(name: str) -> None:
    made(name)
    with pytest.raises(DeviceError, match="fp8"):
        runtimes[name](DeviceOptions(runtime=name, precision="fp8"))


def test_the_precision_is_part_of_the_identity() -> None:
    whole = made("openvino")
    try:
        half = runtimes["openvino"](DeviceOptions(runtime="openvino", precision="bf16"))
    except DeviceError as error:
        pytest.skip(str(error))
    assert (whole.precision, half.precision) == ("fp32", "bf16")
    options = DeviceOptions(runtime="openvino")
    assert local_device(options, whole).id != local_device(options, half).id


@pytest.mark.slow
def test_compiled_networks_do_not_share_what_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    net = tiny_supernet()
    runtime = made("compiled")
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 1)
    for arch in (net.space.smallest(), net.space.largest()):
        assert len(runtime.load(net.extract(arch), None, Inputs.of(tiny_images(1))).burst(2)) == 2


@pytest.mark.parametrize("types", EIGHT_BITS)
def test_a_device_in_eight_bits_runs_the_quantised_file_and_is_another_one(types: str, file: Path) -> None:
    net = tiny_supernet()
    options = DeviceOptions(precision=types)
    runner = runtimes["onnxruntime"](options).load(
        net.extract(net.space.smallest()), file, Inputs.of(tiny_images(1))
    )
    assert len(runner.burst(3)) == 3
    small = onnx.load(file.with_suffix(f".{types}.onnx"))
    assert {node.op_type for node in small.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}
    assert not {node.op_type for node in onnx.load(file).graph.node} & {"QuantizeLinear"}
    assert local_device(options).id != local_device(DeviceOptions()).id
    assert local_device(options).precision == types


def test_a_misspelt_precision_is_answered_with_the_nearest() -> None:
    with pytest.raises(DeviceError, match="did you mean 'u8s8'"):
        runtimes["onnxruntime"](DeviceOptions(precision="u8u8"))


@pytest.mark.parametrize("there", [False, True])
def test_openvino_is_imported_without_telling_its_makers(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (
        (
            "openvino",
            "try:\n    import openvino_telemetry\n    told = True\nexcept ImportError:\n    told = False\n",
        ),
        ("openvino_telemetry", ""),
    ):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.setitem(sys.modules, name, None)  # and as it was, afterwards
        del sys.modules[name]
    monkeypatch.syspath_prepend(str(tmp_path))
    before = import_module("openvino_telemetry") if there else None
    assert openvino_runner._openvino().told is False
    assert sys.modules.get("openvino_telemetry") is before


def test_networks_of_executorch_that_are_loaded_keep_their_pool_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hardware import executorch_runner

    sizes = [2]
    pool = SimpleNamespace(
        _threadpool_get_thread_count=lambda: sizes[-1], _unsafe_reset_threadpool=sizes.append
    )
    monkeypatch.setattr(executorch_runner, "_module", lambda name: pool)
    for count in (1, 1, 1, 3):
        executorch_runner._have_threads(count)
    assert sizes == [2, 1, 3]
