"""The other end of a remote device: a small server that runs the networks it is sent, and answers with times.

``supernet device serve`` starts it on the device. It needs ONNX Runtime and nothing else that is heavy, keeps nothing
on disk, runs one network at a time, and does only what a caller with its token asks: load a network (by the hash of
its bytes), take inputs, time some calls. It listens on the device itself unless told otherwise; a tunnel
(``ssh -L 8765:localhost:8765 device``) is the safest road to it.

| request | body | answer |
|---|---|---|
| ``GET /device?threads=1&pin=1`` | | what the device is: `Host` |
| ``PUT /networks/SHA256?optimisation=all&threads=1`` | the ONNX file | ``{"network", "inputs"}`` |
| ``PUT /networks/ID/inputs`` | arrays, as ``numpy.savez`` writes them | ``{}`` |
| ``POST /networks/ID/bursts?threads=1&pin=1`` | ``{"calls": 20}`` | ``{"ns": [...], "load": 0.1}`` |

A refusal is ``{"error": "..."}`` with a status from 400 on.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import logging
from collections import OrderedDict
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from hardware.device import host, load_average, pinned
from hardware.errors import DeviceError, ExportError
from hardware.host import Host
from hardware.onnx_session import OnnxSession
from hardware.options import PATIENCE, PROTOCOL, DeviceOptions

log = logging.getLogger(__name__)

PORT = 8765
NETWORKS = 64
"""How many networks are kept; the one not used for longest makes room, and its owner sends it again."""
MOST_CALLS = 10_000
_SWALLOWED = 2**32
"""Bytes of a network that is too large that are read all the same."""


class Refused(Exception):
    """A request that is not met.

    Args:
        status: of HTTP.
        why: in words.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """What a caller may ask for.

    Args:
        token: what every request has to carry.
        megabytes: of the largest network or input.
    """

    token: str
    megabytes: int = 1024


class Agent(HTTPServer):
    """The server; `serve_forever` runs it.

    Args:
        address: name or number to listen on, and port; port 0 takes any that is free.
        limits: what may be asked.
    """

    def __init__(self, address: tuple[str, int], limits: Limits) -> None:
        super().__init__(address, _Handler)
        self.limits = limits
        self.networks: OrderedDict[str, OnnxSession] = OrderedDict()

    def describe(self, options: DeviceOptions) -> dict[str, Any]:
        """What this device is, used as asked."""
        found: Host = host(options)
        return {"protocol": PROTOCOL} | asdict(found)

    def load(self, digest: str, options: DeviceOptions, model: bytes) -> dict[str, Any]:
        """Make a network ready to run; the same one twice is the same one."""
        if hashlib.sha256(model).hexdigest() != digest:
            raise Refused(
                400, f"the network's hash is not {digest}: it was damaged on the way; send it again"
            )
        name = f"{digest}-{options.optimisation}-{options.threads}"
        if name not in self.networks:
            self.networks[name] = OnnxSession(model, options.optimisation, options.threads)
        while len(self.networks) > NETWORKS:
            self.networks.popitem(last=False)
        return {"network": name, "inputs": self.networks[name].inputs}

    def network(self, name: str) -> OnnxSession:
        """One that was sent."""
        if name not in self.networks:
            raise Refused(404, f"no network {name!r} was sent, or it made room for others; send it again")
        self.networks.move_to_end(name)
        return self.networks[name]


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Agent
    timeout = PATIENCE

    def do_GET(self) -> None:
        """What the agent tells, or the state of a network it holds."""
        self._answer()

    def do_PUT(self) -> None:
        """A network, or its inputs."""
        self._answer()

    def do_POST(self) -> None:
        """Bursts of a network."""
        self._answer()

    def _answer(self) -> None:
        try:
            self._admit()
            found, status = self._found(), 200
        except Refused as error:
            found, status = {"error": str(error)}, error.status
        except (DeviceError, ExportError, ValueError, KeyError) as error:
            found, status = {"error": str(error)}, 422
        body = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _admit(self) -> None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self.server.limits.token.encode()):
            raise Refused(
                401, "the token is missing or wrong; it is the one that the agent printed when it started"
            )

    def _found(self) -> dict[str, Any]:
        match self.command, *urlsplit(self.path).path.strip("/").split("/"):
            case "GET", "device":
                return self.server.describe(self._options())
            case "PUT", "networks", digest:
                return self.server.load(digest, self._options(), self._body())
            case "PUT", "networks", name, "inputs":
                with np.load(io.BytesIO(self._body()), allow_pickle=False) as arrays:
                    self.server.network(name).give({key: arrays[key] for key in arrays.files})
                return {}
            case "POST", "networks", name, "bursts":
                return self._burst(name, json.loads(self._body()))
        raise Refused(404, f"there is nothing at {self.command} {self.path}")

    def _burst(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        calls = int(asked["calls"])
        if not 1 <= calls <= MOST_CALLS:
            raise Refused(422, f"{calls} calls were asked for; a burst has 1 to {MOST_CALLS}")
        network = self.server.network(name)
        with pinned(self._options()):
            return {"ns": network.burst(calls), "load": load_average()}

    def _options(self) -> DeviceOptions:
        asked = {key: values[-1] for key, values in parse_qs(urlsplit(self.path).query).items()}
        return DeviceOptions(
            optimisation=asked.get("optimisation", "all"),
            threads=int(asked.get("threads", "1")),
            pin=asked.get("pin", "1") == "1",
        )

    def _body(self) -> bytes:
        length, most = int(self.headers.get("Content-Length", "-1")), self.server.limits.megabytes
        if length < 0:
            raise Refused(411, "the request does not say how long it is")
        if length > most * 2**20:
            for _ in range(min(length, _SWALLOWED) // 2**20):  # or the caller sees a broken pipe, and not why
                self.rfile.read(2**20)
            raise Refused(
                413, f"{length / 2**20:.0f} MiB were sent; this agent takes {most} (--max-megabytes)"
            )
        return self.rfile.read(length)

    def log_message(self, format: str, *args: Any) -> None:
        """Into the log instead of onto the terminal."""
        log.info(format, *args)
