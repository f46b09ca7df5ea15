"""Networks on an NVIDIA GPU; most of this needs one."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hardware.bursts import no_garbage_collection
from hardware.checkup import check_up
from hardware.cuda_runner import PRECISIONS, CudaCalls, _Told, as_used, timed_by_events
from hardware.device import chip, local_device
from hardware.energy import in_words
from hardware.errors import DeviceError, ExportError
from hardware.measurement import Profile
from hardware.options import DeviceOptions, ProfileOptions
from hardware.profiler import profile
from hardware.runners import peak_of, runtimes
from hardware.sampling import spread
from supernet.elastic.inputs import Inputs, output_tensors
from tests.tiny import tiny_images, tiny_supernet

NAMES = ("cuda", "cuda_graph")
gpu = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.version.cuda is None, reason="PyTorch sees no NVIDIA GPU"
)


def options(name: str, precision: str = "fp32") -> DeviceOptions:
    return DeviceOptions(runtime=name, precision=precision)


def loaded(name: str, module: nn.Module, inputs: Tensor, precision: str = "fp32") -> CudaCalls:
    runner = runtimes[name](options(name, precision)).load(module, None, Inputs.of(inputs))
    assert isinstance(runner, CudaCalls)
    return runner


def subnet() -> nn.Module:
    net = tiny_supernet()
    return net.extract(net.space.smallest()).eval()


class Waits(nn.Module):
    """Asks what a number is in the middle of a call."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum().item() > 0 else x * 3


class Hungry(nn.Module):
    """Has 16 MiB of weights, and asks for 64 TiB."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2**22))

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.empty(2**44, device=x.device)[0]


class Wide(nn.Module):
    """So many MiB of weights, and as many of activations for 1,024 rows."""

    def __init__(self, mib: int) -> None:
        super().__init__()
        self.linear = nn.Linear(1024, 256 * mib, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class FakeEvent:
    """Notes down when it was recorded, on a clock that every call moves on."""

    def __init__(self, clock: list[float], log: list[str], name: str) -> None:
        self.clock, self.log, self.name, self.at = clock, log, name, -1.0

    def record(self) -> None:
        self.log.append(self.name)
        self.at = self.clock[0]

    def synchronize(self) -> None:
        self.log.append("waited")

    def elapsed_time(self, end_event: Any) -> float:
        return float(end_event.at - self.at)


def test_every_call_is_timed_between_two_events_and_waited_for() -> None:
    clock, log = [0.0], []  # type: tuple[list[float], list[str]]
    took: Iterator[float] = iter((0.5, 0.0625, 2.0))

    def call() -> None:
        log.append("call")
        clock[0] += next(took)

    events = (FakeEvent(clock, log, name) for name in ("start", "end"))
    assert timed_by_events(call, 3, *events) == [500_000, 62_500, 2_000_000]
    assert log == ["start", "call", "end", "waited"] * 3


@pytest.mark.parametrize("name", NAMES)
def test_without_a_gpu_the_error_says_what_is_needed_and_what_else_there_is(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=r"NVIDIA GPU.*(sees none|without CUDA).*nvidia-smi.*onnxruntime"):
        local_device(options(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_precision_that_cuda_lacks_is_answered_with_those_it_has(name: str) -> None:
    with pytest.raises(DeviceError, match=r"'fp61'; did you mean 'fp16'.*fp32, tf32, fp16, bf16"):
        runtimes[name](options(name, "fp61"))


def test_a_failure_says_its_first_cause_in_one_line() -> None:
    """A capture that is left by an error raises another one, about itself."""
    with (
        pytest.raises(ExportError, match=r"^it does not run: stream is capturing$"),
        _Told("it does not run"),
    ):
        try:
            raise RuntimeError("stream is capturing\nand much more")
        finally:
            raise RuntimeError("the capture is broken")
    with pytest.raises(ExportError, match="of memory; try a smaller batch"), _Told("no"):
        raise torch.OutOfMemoryError("out of memory")
    with pytest.raises(ExportError, match=r"^in it$"), _Told("around it"):
        raise ExportError("in it")


def test_a_failure_keeps_nothing_alive_that_the_call_had() -> None:
    """Nobody collects garbage while networks are timed, and the next one needs the memory."""

    class Weights:
        """Anything that can be looked after."""

    def fails() -> weakref.ref[Weights]:
        weights = Weights()
        with suppress(ExportError), _Told("it does not run"):
            raise RuntimeError("out of memory")
        return weakref.ref(weights)

    with no_garbage_collection():
        assert fails()() is None


def test_a_runtime_may_name_the_chip_that_it_runs_networks_on() -> None:
    eager = runtimes["torch"](DeviceOptions(runtime="torch"))
    before = local_device(DeviceOptions(runtime="torch"), eager)
    eager.chip = "a card"  # type: ignore[attr-defined]
    found = local_device(DeviceOptions(runtime="torch"), eager)
    assert (before.chip, before.name) == (chip(), chip())
    assert (found.chip, found.name) == ("a card", "a card") and found.id != before.id


@gpu
@pytest.mark.parametrize("name", NAMES)
def test_the_chip_is_the_gpu_and_the_identity_says_what_else_decides(name: str) -> None:
    found = {precision: local_device(options(name, precision)) for precision in PRECISIONS}
    device = found["fp32"]
    assert device.chip == torch.cuda.get_device_name(0) and chip() in device.provider
    assert torch.__version__ in device.version and f"CUDA {torch.version.cuda}" in device.version
    assert {precision: each.precision for precision, each in found.items()} == {p: p for p in PRECISIONS}
    assert len({each.id for each in found.values()}) == len(PRECISIONS)
    assert local_device(options("cuda")).id != local_device(options("cuda_graph")).id


@gpu
@pytest.mark.parametrize("name", NAMES)
def test_the_network_computes_on_the_gpu_what_the_callers_does_and_the_callers_stays_as_it_is(
    name: str,
) -> None:
    """Also on other images than those it was captured with, and on the first ones again."""
    module = subnet()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    runner = loaded(name, module, tiny_images(2))
    assert len(runner.burst(7)) == 7 and min(runner.burst(7)) > 0
    for seed in (1, 2, 0):
        images = tiny_images(2, seed)
        with torch.no_grad():
            expected = module(images)
        found = runner.answer(Inputs.of(images))
        assert found.device.type == "cuda"
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)  # sums in another order
    for key, value in module.state_dict().items():
        assert value.device.type == "cpu" and torch.equal(value, before[key])


@gpu
def test_a_captured_network_answers_what_it_does_operator_by_operator() -> None:
    module = subnet()
    eager, graph = (loaded(name, module, tiny_images(2)) for name in NAMES)
    for seed in (3, 4):
        images = Inputs.of(tiny_images(2, seed))
        one = eager.answer(images).clone()
        torch.testing.assert_close(graph.answer(images), one, rtol=1e-5, atol=1e-5)
        graph.burst(3)
        torch.testing.assert_close(graph.answer(images), one, rtol=1e-5, atol=1e-5)


@gpu
@pytest.mark.parametrize("name", NAMES)
def test_networks_that_are_loaded_together_do_not_disturb_each_other(name: str) -> None:
    net = tiny_supernet()
    modules = [net.extract(arch).eval() for arch in spread(net.space, 4)]
    runners = [loaded(name, module, tiny_images(2)) for module in modules]
    alone = [runner.answer(Inputs.of(tiny_images(2, 1))).clone() for runner in runners]
    for runner in reversed(runners):
        runner.burst(3)
    del runners[1]  # its memory is used by others
    del alone[1], modules[1]
    more = loaded(name, modules[0], tiny_images(2))
    more.burst(3)
    for runner, module, expected in zip(runners, modules, alone, strict=True):
        found = runner.answer(Inputs.of(tiny_images(2, 1)))
        torch.testing.assert_close(found, expected)
        with torch.no_grad():
            torch.testing.assert_close(found.cpu(), module(tiny_images(2, 1)), rtol=1e-4, atol=1e-4)


@gpu
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", NAMES)
def test_in_sixteen_bits_a_copy_is_run(name: str, precision: str) -> None:
    module, images = subnet(), tiny_images(2)
    runner = loaded(name, module, images, precision)
    assert min(runner.burst(4)) > 0
    found = runner.answer(Inputs.of(images))
    assert found.dtype == PRECISIONS[precision]
    with torch.no_grad():
        expected = module(images)
    off = ((found.cpu().float() - expected).norm() / expected.norm()).item()
    assert 0 < off < 0.2
    assert {p.dtype for p in module.parameters()} == {torch.float32} and images.dtype == torch.float32


@gpu
@pytest.mark.parametrize("name", NAMES)
def test_fp32_rounds_nothing_to_tf32_and_tf32_rounds_it(name: str) -> None:
    """TF32 keeps ten bits of a number; cards before Ampere do not have it. What was set before is set again."""
    if torch.cuda.get_device_capability(0) < (8, 0):
        pytest.skip("this card has no TF32")
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(64, 64, 3), nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(4096, 256))
    images = torch.randn(8, 64, 32, 32)
    with torch.no_grad():
        exact = module.double()(images.double())
        module.float()
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    off = {
        precision: (
            (loaded(name, module, images, precision).answer(Inputs.of(images)).cpu().double() - exact).norm()
            / exact.norm()
        ).item()
        for precision in ("fp32", "tf32")
    }
    assert off["fp32"] < 3e-5 and 10 * off["fp32"] < off["tf32"] < 1e-2
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before


@gpu
def test_what_pytorch_was_set_to_does_not_change_what_is_timed() -> None:
    set_before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        with as_used("fp32"):
            assert not torch.backends.cudnn.benchmark and torch.is_inference_mode_enabled()
            assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.benchmark and not torch.is_inference_mode_enabled()
    finally:
        torch.backends.cudnn.benchmark = set_before


@gpu
@pytest.mark.parametrize("name", NAMES)
def test_inputs_in_a_nesting_are_copied_and_whole_numbers_stay_whole(name: str) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(16, 8)

        def forward(self, tokens: Tensor, more: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"sum": self.table(tokens).sum(1) * more["scale"]}

    module = Tokens().eval()
    given = Inputs((torch.tensor([[1, 2, 3]]), {"scale": torch.ones(1, 1)}))
    runner = runtimes[name](options(name, "fp16")).load(module, None, given)
    other = Inputs((torch.tensor([[4, 5, 6]]), {"scale": torch.full((1, 1), 2.0)}))
    assert isinstance(runner, CudaCalls)
    ((_, found),) = output_tensors(runner.answer(other))
    torch.testing.assert_close(found.cpu().float(), other.call(module)["sum"].detach(), rtol=1e-2, atol=1e-2)
    assert given.tensors[0].tolist() == [[1, 2, 3]]


@gpu
def test_a_network_that_waits_for_the_gpu_runs_but_is_not_captured_and_costs_only_itself() -> None:
    runtime = runtimes["cuda_graph"](options("cuda_graph"))
    images = Inputs.of(tiny_images(1))
    assert len(loaded("cuda", Waits(), tiny_images(1)).burst(2)) == 2
    stream, mode = torch.cuda.current_stream(), torch.cuda.get_sync_debug_mode()
    with pytest.raises(ExportError, match=r"Waits cannot be captured.*synchroni"):
        runtime.load(Waits(), None, images)
    assert torch.cuda.current_stream() == stream and torch.cuda.get_sync_debug_mode() == mode
    module = subnet()
    runner = runtime.load(module, None, images)
    assert isinstance(runner, CudaCalls) and min(runner.burst(3)) > 0
    with torch.no_grad():
        expected = module(tiny_images(1, 5))
    torch.testing.assert_close(
        runner.answer(Inputs.of(tiny_images(1, 5))).cpu(), expected, rtol=1e-4, atol=1e-4
    )


@gpu
@pytest.mark.parametrize("name", NAMES)
def test_a_network_that_does_not_fit_costs_only_itself(name: str) -> None:
    runtime = runtimes[name](options(name))
    with pytest.raises(ExportError, match=r"Hungry does not run on the GPU: .*memory.*smaller batch"):
        runtime.load(Hungry(), None, Inputs.of(tiny_images(1)))
    with no_garbage_collection():
        before = torch.cuda.memory_allocated()
        with suppress(ExportError):
            runtime.load(Hungry(), None, Inputs.of(tiny_images(1)))
        assert torch.cuda.memory_allocated() == before
    assert min(runtime.load(subnet(), None, Inputs.of(tiny_images(1))).burst(3)) > 0


@gpu
@pytest.mark.parametrize("name", NAMES)
def test_peak_memory_is_weights_and_activations_and_not_what_others_hold(name: str) -> None:
    held = torch.zeros(2**24, device="cuda")  # 64 MiB of somebody else's
    rows = Inputs.of(torch.zeros(1024, 1024))
    runtime = runtimes[name](options(name))
    for mib in (1, 8):
        found = peak_of(runtime, Wide(mib), None, rows)
        assert found == pytest.approx(
            2 * mib, abs=mib / 4
        )  # PyTorch hands out a piece that is a little larger
    half = peak_of(runtimes[name](options(name, "fp16")), Wide(8), None, rows)
    assert half == pytest.approx(8, abs=2)
    assert held.sum() == 0


def profiled(name: str, folder: Path) -> Profile:
    net = tiny_supernet()
    archs = spread(net.space, 4)
    quick = ProfileOptions(subnets=4, seconds=0.5, warm_ms=5, rounds=3)
    return profile(net, archs, tiny_images(), folder, options=quick, device=options(name))


@gpu
@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_taken_from_end_to_end(name: str, tmp_path: Path) -> None:
    found = profiled(name, tmp_path)
    assert found.device.chip == torch.cuda.get_device_name(0) and found.device.runtime == name
    assert len(found.measurements) == 4 and not found.failed
    assert np.all(found.median_ms > 0) and np.all(np.isfinite(found.median_ms))
    assert found.peak_mib is not None and found.peak_mib > 0
    assert {m.file_bytes for m in found.measurements} == {None}
    said = in_words(found.energy)
    assert "card" in said or "package" in said or said == "not available"
    assert not (tmp_path / "onnx").exists()
    assert Profile.load(tmp_path / "profile.json") == found
    assert profiled(name, tmp_path) == found


@gpu
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_is_checked_like_any_device(name: str) -> None:
    found = check_up(options(name))
    assert found.device.chip == torch.cuda.get_device_name(0)
    assert found.median_ms > 0 and found.noise >= 0
