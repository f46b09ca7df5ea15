"""Devices by name: one small TOML file for each, a picture of `DeviceOptions`, in the user's home.

A description says how a device is reached and used, not what it is: that is asked of the device itself
(`hardware.device.Device`) whenever it is measured.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from hardware.errors import DeviceError
from hardware.options import DeviceOptions
from supernet.config import read_toml, to_toml
from supernet.errors import ConfigError, StateError, did_you_mean
from supernet.files import write_atomically
from supernet.home import default_home

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}")
"""Names become folders of a run and parts of questions (``latency_NAME<=12``)."""
RESERVED = ("exports", "onnx", "proofs")
"""Folders that a run's profile has already."""


def folder() -> Path:
    """Where the descriptions lie."""
    return default_home() / "devices"


def device_names() -> list[str]:
    """The devices that are described, sorted."""
    return sorted(path.stem for path in folder().glob("*.toml") if NAME.fullmatch(path.stem))


def read_device(name: str) -> DeviceOptions:
    """How a device is reached and used; it is called by its name in everything measured there.

    Raises:
        ConfigError: for a bad name, or a description that is damaged.
        DeviceError: for a name that nobody gave; the message names the nearest.
    """
    return replace(read_toml(_known(name), DeviceOptions), name=name)


def add_device(name: str, options: DeviceOptions) -> Path:
    """Describe a device; returns the file.

    Raises:
        ConfigError: for a bad name, or options that give it another one.
        DeviceError: when the name is taken.
        StateError: when the file cannot be written.
    """
    path = _path(name)
    if options.name not in ("", name):
        raise ConfigError(f"the device is to be called {name!r} and {options.name!r}; leave out the latter")
    if path.exists():
        raise DeviceError(
            f"a device is called {name!r} already; choose another name, or: supernet device remove {name}"
        )
    return write_atomically(path, to_toml(replace(options, name=name)))


def remove_device(name: str) -> None:
    """Forget a description; what was measured on the device stays where it is.

    Raises:
        ConfigError: for a bad name.
        DeviceError: for a name that nobody gave; the message names the nearest.
        StateError: when the file cannot be removed.
    """
    path = _known(name)
    try:
        path.unlink()
    except OSError as error:
        raise StateError(f"cannot remove {path}: {error.strerror}; check its permissions") from error


def check_name(name: str) -> str:
    """The name itself, when a device can be called so.

    Raises:
        ConfigError: when it cannot.
    """
    if "://" in name:
        raise ConfigError(
            f"{name!r} is an address; describe the device that is there and name it: supernet device add NAME "
            f"--address {name}, or make it the run's own: --set device.address={name}"
        )
    if not NAME.fullmatch(name) or name.lower() in RESERVED:
        raise ConfigError(
            f"no device can be called {name!r}; a name has up to 40 letters, digits and hyphens, begins with no "
            f"hyphen, and is none of {', '.join(RESERVED)}"
        )
    return name


def _path(name: str) -> Path:
    return folder() / f"{check_name(name)}.toml"


def _known(name: str) -> Path:
    path = _path(name)
    if not path.exists():
        raise DeviceError(
            f"no device is called {name!r}{did_you_mean(name, device_names())}; "
            f"describe it first: supernet device add {name}"
        )
    return path
