"""A device over ssh: a program called ssh on the path stands for the system's, and runs here what is to run there."""

from __future__ import annotations

import os
import re
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

REAL = """
from hardware.agent import Agent, Limits
agent = Agent(("localhost", port), Limits(token))
"""
QUICK = """
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers.get("Authorization") == f"Bearer {token}"
        host = dict.fromkeys(("chip", "system", "version", "provider", "governor"), "a chip")
        host |= {"protocol": 1, "pinned": 1}
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(json.dumps(host if known else {"error": "no"}).encode())
    def log_message(self, *given): pass
agent = HTTPServer(("localhost", port), Handler)
"""
SERVER = """
import os, sys
assert sys.argv[1:4] == ["device", "serve", "--port"], sys.argv
port, token = int(sys.argv[4]), os.environ["SUPERNET_DEVICE_TOKEN"]
{agent}
agent.serve_forever()
"""
SSH = """#!/bin/sh
echo "$@" >> "SAID"
for word; do
    case "$word" in *:localhost:*) here=${word%%:*}; there=${word##*:};; esac
done
exec sh -c "$(echo "$word" | sed "s/--port $there /--port $here /")"
"""
"""Here and there are one machine, and a tunnel that nobody digs: the agent listens where that would begin."""


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def there(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a machine whose ``supernet`` is an agent; the words that ssh was given are in a file."""
    monkeypatch.delenv(TOKEN, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "server.py").write_text(SERVER.replace("{agent}", request.param))
    command = program(
        tmp_path / "supernet", f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/server.py" "$@"\n'
    )
    program(
        tmp_path / "ssh",
        SSH.replace("SAID", f"{tmp_path}/said"),
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


def cut(known: tunnel.Tunnel) -> None:
    known.process.kill()
    tunnel._close(known.process)
    known.process.wait()


@pytest.mark.parametrize("there", [QUICK], indirect=True, ids=["stand-in"])
def test_an_agent_is_started_there_and_again_when_it_is_gone(there: str, tmp_path: Path) -> None:
    options = DeviceOptions(address=there)
    runtime = RemoteRuntime(options)
    assert local_device(options, runtime).chip == "a chip"
    first = tunnel_to(there)
    assert first is tunnel_to(there)
    cut(first)
    gone(first.address)
    assert runtime.ask("GET", "/device")["chip"] == "a chip"
    said = (tmp_path / "said").read_text()
    assert said.count("-p 2222") == 2 and "pi@kitchen" in said
    assert first.token not in said and tunnel_to(there).token not in said


@pytest.mark.slow
@pytest.mark.parametrize("there", [REAL], indirect=True, ids=["agent"])
def test_networks_are_timed_there_and_sent_again_to_an_agent_that_was_started_again(
    there: str, tmp_path: Path
) -> None:
    net = tiny_supernet()
    alone = net.extract(net.space.smallest())
    file = export_onnx(alone, tiny_images(), tmp_path / "x.onnx").path
    runner = RemoteRuntime(DeviceOptions(address=there)).load(alone, file, Inputs.of(tiny_images(1)))
    assert len(runner.burst(3)) == 3
    cut(tunnel_to(there))
    assert len(runner.burst(3)) == 3


def test_nobody_is_asked_and_the_tunnel_leads_to_the_port_of_the_agent() -> None:
    said = words("ssh://pi@kitchen", 4321, 8765)
    assert said[said.index("-L") + 1] == "4321:localhost:8765"
    assert "supernet device serve --port 8765 " in said[-1] and said[-2] == "pi@kitchen"
    assert "BatchMode=yes" in said and "-p" not in said


@pytest.mark.parametrize("there", [QUICK], indirect=True, ids=["stand-in"])
def test_an_agent_on_this_very_machine_finds_its_port_free(there: str, tmp_path: Path) -> None:
    """Where ssh leads back here, its own end of the tunnel has a port already."""
    tunnel_to(there)
    said = (tmp_path / "said").read_text()
    here, other = re.findall(r"-L (\d+):localhost:(\d+)", said)[0]
    assert here != other and f"--port {other} " in said


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
