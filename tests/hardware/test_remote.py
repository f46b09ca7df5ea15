"""A device elsewhere, in a second process: the same answers, and nothing lost when it goes away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from hardware import remote
from hardware.device import local_device
from hardware.errors import DeviceError, ExportError
from hardware.export import export_onnx
from hardware.measurement import Profile
from hardware.options import DeviceOptions, ProfileOptions
from hardware.profiler import profile
from hardware.remote import TOKEN, RemoteRuntime
from hardware.runners import OnnxRuntime, bytes_run
from hardware.sampling import spread
from supernet.elastic.inputs import Inputs
from supernet.errors import ConfigError
from tests.tiny import tiny_images, tiny_supernet

SERVER = """
import sys
from hardware.agent import Agent, Limits
agent = Agent(("localhost", int(sys.argv[1])), Limits("secret", 4))
print(agent.server_port, "torch" in sys.modules, flush=True)
agent.serve_forever()
"""


class Elsewhere:
    """An agent in a process of its own, which can be killed and started again at its port."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.port)], stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert self.process.stdout is not None
        port, self.has_torch = self.process.stdout.readline().split()
        self.port = int(port)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def options(self) -> DeviceOptions:
        return DeviceOptions(address=f"http://localhost:{self.port}")


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    agent = Elsewhere()
    yield agent
    agent.kill()


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "secret")
    monkeypatch.setattr(remote, "PAUSES", (0.01,))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = tiny_supernet()
    path = tmp_path_factory.mktemp("onnx") / "x.onnx"
    return export_onnx(net.extract(net.space.smallest()), tiny_images(), path).path


@pytest.fixture
def load(elsewhere: Elsewhere, file: Path) -> Callable[[], remote.RemoteRunner]:
    net = tiny_supernet()
    return lambda: RemoteRuntime(elsewhere.options).load(net.largest, file, Inputs.of(tiny_images(1)))


def test_this_machine_is_the_same_device_from_near_and_far(elsewhere: Elsewhere) -> None:
    assert local_device(elsewhere.options) == local_device()
    two = replace(elsewhere.options, threads=2, optimisation="basic")
    assert local_device(two) == local_device(DeviceOptions(threads=2, optimisation="basic"))


def test_an_agent_needs_no_pytorch(elsewhere: Elsewhere) -> None:
    assert elsewhere.has_torch == "False"


def test_every_call_of_a_network_sent_is_timed(load: Callable[[], remote.RemoteRunner]) -> None:
    times = load().burst(5)
    assert len(times) == 5
    assert all(type(ns) is int and ns > 0 for ns in times)


def test_an_agent_that_was_started_anew_is_sent_the_network_again(
    elsewhere: Elsewhere, load: Callable[[], remote.RemoteRunner]
) -> None:
    runner = load()
    elsewhere.kill()
    elsewhere.start()
    assert len(runner.burst(3)) == 3


def test_a_killed_agent_costs_no_measurement(elsewhere: Elsewhere, file: Path, tmp_path: Path) -> None:
    net = tiny_supernet().eval()
    archs, options = (
        spread(net.space, 4),
        ProfileOptions(subnets=4, seconds=0.1, warm_ms=1, rounds=2, burst=4),
    )

    files = {
        arch.id: file for arch in [net.space.largest(), *archs]
    }  # which network it is does not matter here

    def measure(progress: Callable[[str, int, int], None] | None = None) -> Profile:
        return profile(
            net, archs, tiny_images(1), tmp_path,
            options=options, device=elsewhere.options, files=files, progress=progress,
        )  # fmt: skip

    def kill_while_measuring(step: str, done: int, total: int) -> None:
        if step == "measure" and done == 2:
            elsewhere.kill()

    with pytest.raises(DeviceError, match=r"no agent answers .*device serve.* goes on"):
        measure(kill_while_measuring)
    kept = (tmp_path / "journal.jsonl").read_text()
    assert kept.count("\n") >= 3
    elsewhere.start()
    found = measure()
    assert (tmp_path / "journal.jsonl").read_text().startswith(kept)
    assert found.device == local_device()
    assert {m.file_bytes for m in found.measurements} == {file.stat().st_size} and found.peak_mib is None


def test_an_agent_runs_the_file_in_eight_bits_that_is_run_here(
    elsewhere: Elsewhere, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network is put into eight bits before it is sent: once, and as on this machine."""
    here, there = DeviceOptions(precision="u8s8"), replace(elsewhere.options, precision="u8s8")
    assert local_device(there) == local_device(here) != local_device(elsewhere.options)
    runtime, sent = RemoteRuntime(there), []  # type: tuple[RemoteRuntime, list[bytes]]
    small, once = runtime.file_run(file), runtime._once

    def watched(method: str, path: str, body: bytes) -> dict[str, Any]:
        if method == "PUT" and not path.endswith("inputs"):
            sent.append(body)
        return once(method, path, body)

    monkeypatch.setattr(runtime, "_once", watched)
    for _ in range(2):
        assert len(runtime.load(tiny_supernet(), file, Inputs.of(tiny_images(1))).burst(3)) == 3
    assert sent == [small.read_bytes()] * 2 and file.read_bytes() not in sent
    assert small == OnnxRuntime(here).file_run(file) and bytes_run(runtime, file) == len(sent[0])
    assert {node.op_type for node in onnx.load(small).graph.node} >= {"QuantizeLinear", "DequantizeLinear"}


def test_a_wrong_token_is_refused(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("guess", ""):
        monkeypatch.setenv(TOKEN, wrong)
        with pytest.raises(DeviceError, match=f"token is missing or wrong.*{TOKEN}"):
            local_device(elsewhere.options)


def test_a_network_that_does_not_load_says_so_and_the_agent_goes_on(
    elsewhere: Elsewhere, tmp_path: Path, load: Callable[[], remote.RemoteRunner]
) -> None:
    runtime = RemoteRuntime(elsewhere.options)
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(ExportError, match="cannot load what was sent"):
        runtime.load(tiny_supernet(), tmp_path / "bad.onnx", Inputs.of(tiny_images(1)))
    (tmp_path / "large.onnx").write_bytes(bytes(5 * 2**20))
    with pytest.raises(ExportError, match=r"5 MiB were sent.*takes 4"):
        runtime.load(tiny_supernet(), tmp_path / "large.onnx", Inputs.of(tiny_images(1)))
    with pytest.raises(ExportError, match="damaged on the way"):
        runtime.ask("PUT", f"/networks/{'0' * 64}?threads=1", b"something else")
    with pytest.raises(DeviceError, match="nothing at GET /secrets"):
        runtime.ask("GET", "/secrets")
    assert len(load().burst(1)) == 1


def test_a_network_that_does_not_run_with_its_input_says_so(elsewhere: Elsewhere, file: Path) -> None:
    with pytest.raises(ExportError, match="cannot run"):
        RemoteRuntime(elsewhere.options).load(
            tiny_supernet(), file, Inputs.of(tiny_images(1)[:, :, :3, :3, None])
        )


def test_an_agent_of_another_version_is_refused(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PROTOCOL", 99)
    with pytest.raises(DeviceError, match="another protocol than 99"):
        local_device(elsewhere.options)


@pytest.mark.parametrize(
    "options",
    [
        {"address": "board:8765"},
        {"address": "http://board", "runtime": "torch"},
        {"address": "http://board", "precision": "mixed"},
    ],
)
def test_an_address_that_is_none_or_does_not_go_with_the_rest_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(
        ConfigError, match=r"device\.(address|runtime|precision is 'mixed'.*fp32, u8s8, s8s8)"
    ):
        DeviceOptions(**options)  # type: ignore[arg-type]
