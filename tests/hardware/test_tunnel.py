"""A device over ssh: a program called ssh on the path stands for the system's, and runs here what is to run there."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardware import tunnel
from hardware.device import local_device
from hardware.errors import DeviceError
from hardware.export import export_onnx
from hardware.options import DeviceOptions
from hardware.remote import TOKEN, RemoteRuntime
from hardware.tunnel import tunnel_to, words
from supernet.elastic.inputs import Inputs
from supernet.errors import ConfigError
from tests.tiny import tiny_images, tiny_supernet

SERVER = """
import os, sys
from hardware.agent import Agent, Limits
assert sys.argv[1:4] == ["device", "serve", "--port"], sys.argv
Agent(("localhost", int(sys.argv[4])), Limits(os.environ["SUPERNET_DEVICE_TOKEN"])).serve_forever()
"""


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a machine whose ``supernet`` is an agent; the last words that ssh was given are in a file."""
    monkeypatch.delenv(TOKEN, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "server.py").write_text(SERVER)
    command = program(
        tmp_path / "supernet", f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/server.py" "$@"\n'
    )
    program(
        tmp_path / "ssh",
        f'#!/bin/sh\necho "$@" >> "{tmp_path}/said"\nfor last; do :; done\nexec sh -c "$last"\n',
    )
    yield f"ssh://pi@kitchen:2222{command}"
    for known in tunnel._open.values():
        tunnel._close(known.process)
        known.process.wait()
    tunnel._open.clear()


def gone(address: str) -> None:
    """Wait until nothing answers there."""
    until = time.monotonic() + 20
    while tunnel._answers(int(address.rpartition(":")[2])):
        assert time.monotonic() < until, "the agent is still there"
        time.sleep(0.05)


def test_an_agent_is_started_there_used_and_started_again_when_it_is_gone(there: str, tmp_path: Path) -> None:
    net = tiny_supernet()
    alone = net.extract(net.space.smallest())
    file = export_onnx(alone, tiny_images(), tmp_path / "x.onnx").path
    options = DeviceOptions(address=there)
    runtime = RemoteRuntime(options)
    assert local_device(options, runtime).chip == local_device().chip
    runner = runtime.load(alone, file, Inputs.of(tiny_images(1)))
    assert len(runner.burst(3)) == 3
    first = tunnel_to(there)
    assert first is tunnel_to(there)
    first.process.kill()
    tunnel._close(first.process)
    first.process.wait()
    gone(first.address)
    assert len(runner.burst(3)) == 3  # the network is sent again
    said = (tmp_path / "said").read_text()
    assert said.count("-p 2222") == 2 and "pi@kitchen" in said
    assert first.token not in said and tunnel_to(there).token not in said


def test_the_tunnel_and_the_agent_have_one_port_and_nobody_is_asked() -> None:
    said = words("ssh://pi@kitchen", 4321)
    assert said[said.index("-L") + 1] == "4321:localhost:4321"
    assert "supernet device serve --port 4321 " in said[-1] and said[-2] == "pi@kitchen"
    assert "BatchMode=yes" in said and "-p" not in said


def test_what_ssh_says_is_said_when_it_does_not_get_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "ssh", "#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(DeviceError, match=r"ssh://kitchen: Permission denied \(publickey\)"):
        tunnel_to("ssh://kitchen")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(DeviceError, match="ssh, which does not start here"):
        tunnel_to("ssh://kitchen")


def test_an_agent_that_never_answers_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "ssh", "#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(tunnel, "PATIENCE", 0.2)
    with pytest.raises(DeviceError, match="no agent answers at ssh://kitchen"):
        tunnel_to("ssh://kitchen")


@pytest.mark.parametrize(
    "address", ["ssh://", "ssh://-oProxyCommand=x", "ssh://a b", "ssh://me:secret@host", "ssh://host:port"]
)
def test_what_is_no_place_for_ssh_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"device\.address"):
        DeviceOptions(address=address)
