"""A device over ssh: an agent is started there through the system's own ssh, and reached through its tunnel.

``ssh://pi@kitchen`` runs ``supernet device serve`` on ``kitchen``; ``ssh://pi@kitchen:2222/opt/venv/bin/supernet``
names the port of ssh and the command. Keys, hosts and jumps are those of ``~/.ssh/config``; nothing is asked for, so a
host that wants a password is refused. The token travels on the agent's standard input, where no list of processes shows
it; the agent ends when that does, which is when the tunnel does.
"""

from __future__ import annotations

import atexit
import secrets
import shlex
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from socket import create_connection, socket
from threading import Lock
from urllib.parse import urlsplit

from hardware.errors import DeviceError

PATIENCE = 60.0
"""Seconds until an agent has to answer; a small board takes some of them to import ONNX Runtime."""
SCRIPT = (
    "read -r SUPERNET_DEVICE_TOKEN; export SUPERNET_DEVICE_TOKEN; exec 3<&0; "
    "{command} device serve --port {port} 3<&- & agent=$!; "
    "(cat; kill $agent) <&3 >/dev/null 2>&1 & wait $agent"
)
"""What runs there: the agent, and something that ends it when nothing more can come from here."""
QUIET = ("-T", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15")


@dataclass(frozen=True)
class Tunnel:
    """A way to an agent.

    Args:
        address: where it answers on this machine.
        token: what it takes.
        process: the ssh that holds it open.
    """

    address: str
    token: str
    process: subprocess.Popen[str]


_open: dict[str, Tunnel] = {}
_lock = Lock()


def tunnel_to(address: str) -> Tunnel:
    """The tunnel to a device; one for each address in a process, opened again when it was cut.

    Args:
        address: ``ssh://[user@]host[:port][/command]``.

    Raises:
        DeviceError: when there is no ssh here, it does not get there, or no agent starts there.
    """
    with _lock:
        known = _open.get(address)
        if known is None or known.process.poll() is not None:
            _open[address] = known = _opened(address)
        return known


def words(address: str, port: int, there: int) -> Sequence[str]:
    """The command that opens a tunnel from a port here to that of the agent.

    The two differ, as ``ssh://localhost`` leads to a machine where ssh itself has the first one.
    """
    parts = urlsplit(address)
    host = f"{parts.username}@{parts.hostname}" if parts.username else str(parts.hostname)
    command = shlex.quote(parts.path) if parts.path.strip("/") else "supernet"
    at = ("-p", str(parts.port)) if parts.port else ()
    script = f"sh -c {shlex.quote(SCRIPT.format(command=command, port=there))}"
    return ("ssh", *QUIET, *at, "-L", f"{port}:localhost:{there}", host, script)


def _opened(address: str) -> Tunnel:
    token, (port, there) = secrets.token_urlsafe(24), _free_ports()
    try:
        process = subprocess.Popen(
            words(address, port, there),
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    except OSError as error:
        raise DeviceError(f"{address} is reached by ssh, which does not start here: {error}") from error
    atexit.register(_close, process)
    assert process.stdin is not None
    with suppress(OSError):  # it ended at once; why is said below
        process.stdin.write(f"{token}\n")
        process.stdin.flush()
    _wait(address, process, port)
    return Tunnel(f"http://localhost:{port}", token, process)


def _wait(address: str, process: subprocess.Popen[str], port: int) -> None:
    """Until the agent answers."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            assert process.stderr is not None
            why = " ".join(process.stderr.read().split())[-300:] or f"it ended with {process.returncode}"
            raise DeviceError(
                f"no agent could be started at {address}: {why}; try `ssh` there yourself, and "
                f"`supernet device serve` on it"
            )
        if _answers(port):
            return
        time.sleep(0.1)
    _close(process)
    raise DeviceError(
        f"no agent answers at {address} within {PATIENCE:.0f} seconds; look what keeps it there"
    )


def _answers(port: int) -> bool:
    """Whether what listens there speaks HTTP: ssh itself listens before the agent does."""
    with suppress(OSError), create_connection(("localhost", port), timeout=2) as line:
        line.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return line.recv(5) == b"HTTP/"
    return False


def _free_ports() -> tuple[int, int]:
    """Two that are free here; nothing is known of the machine there."""
    with socket() as one, socket() as other:
        for probe in (one, other):
            probe.bind(("localhost", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _close(process: subprocess.Popen[str]) -> None:
    with suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
        process.terminate()
