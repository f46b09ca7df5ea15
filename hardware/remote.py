"""A device elsewhere: the runtime that sends networks to `hardware.agent` and gets times back."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy as np
from torch import nn

from hardware.errors import DeviceError, ExportError
from hardware.export import feed
from hardware.host import Host
from hardware.onnx_files import file_made, file_run
from hardware.options import PATIENCE, PROTOCOL, SSH, DeviceOptions
from hardware.tunnel import tunnel_to
from supernet.elastic.inputs import Inputs

TOKEN = "SUPERNET_DEVICE_TOKEN"
"""The environment variable that holds an agent's token; a secret has no place among a run's options.

Where agents have tokens of their own, the name of the device stands behind: ``SUPERNET_DEVICE_TOKEN_KITCHEN_PI``.
"""
PAUSES = (0.5, 2.0, 5.0)
"""Seconds between attempts to reach an agent that does not answer."""
BRIEF = 10.0
"""Seconds of patience where somebody only wants to know whether an agent is there."""


class Missing(DeviceError):
    """The agent does not have the network; it was started anew, or others took its room."""


class RemoteRuntime:
    """ONNX Runtime on another machine; an agent that was started anew is sent its networks again.

    A network in eight bits is put into them here: what is sent is a file like any other.

    Args:
        options: with the address of an agent.
        patient: ask again, after pauses, what is not answered.

    Raises:
        DeviceError: when no agent answers there, it does not know the token, or speaks another protocol.
    """

    reads_onnx = True

    def __init__(self, options: DeviceOptions, *, patient: bool = True) -> None:
        self._options, self._query = options, _query(options)
        self._pauses: tuple[float, ...] = PAUSES if patient else ()
        self._patience = PATIENCE if patient else BRIEF
        self._kept = ". What was measured is kept: the same command goes on" if patient else ""
        found = self.ask("GET", f"/device?{self._query}")
        if found.pop("protocol", None) != PROTOCOL:
            raise DeviceError(
                f"the agent at {options.address} speaks another protocol than {PROTOCOL}; "
                f"install the same version of supernet on both machines"
            )
        self.host = Host(**found)
        self.version, self.provider = self.host.version, self.host.provider
        self.optimisation, self.precision = options.optimisation, options.precision

    def load(self, module: nn.Module, file: Path | None, inputs: Inputs) -> RemoteRunner:
        """Send a network and what it is run with.

        Raises:
            ExportError: when the device cannot load or run it, or it cannot be quantised.
        """
        assert file is not None
        return RemoteRunner(self, file_made(file, self.precision, inputs), inputs)

    def file_run(self, exported: Path) -> Path:
        """The file that is sent."""
        return file_run(exported, self.precision)

    def ask(self, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
        """What the agent answers.

        Raises:
            DeviceError: when it does not, or refuses.
        """
        for pause in (*self._pauses, None):
            try:
                return self._once(method, path, body)
            except (URLError, HTTPException, OSError) as error:
                if pause is None:
                    raise DeviceError(
                        f"no agent answers at {self._options.address} ({error}); start it there with "
                        f"`supernet device serve`{self._kept}"
                    ) from error
                time.sleep(pause)
        raise AssertionError

    def _reached(self) -> tuple[str, str]:
        """Where the agent answers, and its token; over ssh it is started when it does not run."""
        if self._options.address.startswith(SSH):
            tunnel = tunnel_to(self._options.address)
            return tunnel.address, tunnel.token
        return self._options.address, _token(self._options.name)

    def _once(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        address, token = self._reached()
        request = Request(address.rstrip("/") + path, data=body or None, method=method)
        request.add_header("Authorization", f"Bearer {token}")
        try:
            with urlopen(request, timeout=self._patience) as answer:
                found = json.loads(answer.read())
                if not isinstance(found, dict):
                    raise ValueError(f"it says {str(found)[:40]!r}")
                return found
        except HTTPError as error:
            why = _why(error)
            if error.code == 404:
                raise Missing(why) from error
            if error.code == 401:
                variable = _variable(self._options.name)
                either = TOKEN if variable == TOKEN else f"{TOKEN}, or {variable} where it has one of its own"
                raise DeviceError(
                    f"{self._options.address}: {why}; put it into the variable {either}"
                ) from error
            raise ExportError(f"{self._options.address}: {why}") from error
        except ValueError as error:
            raise DeviceError(f"what answers at {self._options.address} is no agent: {error}") from error


class RemoteRunner:
    """One network on the other machine."""

    def __init__(self, runtime: RemoteRuntime, file: Path, inputs: Inputs) -> None:
        self._runtime, self._file, self._inputs = runtime, file, inputs
        self._send()

    def burst(self, calls: int) -> list[int]:
        """See `hardware.runners.Runner`."""
        body = json.dumps({"calls": calls}).encode()
        try:
            found = self._runtime.ask("POST", self._bursts, body)
        except Missing:
            self._send()
            found = self._runtime.ask("POST", self._bursts, body)
        return [int(ns) for ns in found["ns"]]

    def _send(self) -> None:
        model, query = self._file.read_bytes(), self._runtime._query
        digest = hashlib.sha256(model).hexdigest()
        found = self._runtime.ask("PUT", f"/networks/{digest}?{query}", model)
        arrays = io.BytesIO()
        given: dict[str, Any] = dict(feed(self._inputs, found["inputs"]))
        np.savez(arrays, **given)
        self._runtime.ask("PUT", f"/networks/{found['network']}/inputs", arrays.getvalue())
        self._bursts = f"/networks/{found['network']}/bursts?{query}"


def _query(options: DeviceOptions) -> str:
    return urlencode(
        {"optimisation": options.optimisation, "threads": options.threads, "pin": int(options.pin)}
    )


def _variable(name: str) -> str:
    """The environment variable for the token of one device alone."""
    return f"{TOKEN}_{re.sub(r'[^A-Z0-9]', '_', name.upper())}" if name else TOKEN


def _token(name: str) -> str:
    return os.environ.get(_variable(name)) or os.environ.get(TOKEN, "")


def _why(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"])
    except (ValueError, KeyError):
        return f"status {error.code}"
