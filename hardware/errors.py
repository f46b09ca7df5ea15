"""What can go wrong between a network and a device."""

from __future__ import annotations

from supernet.errors import SupernetError


class ExportError(SupernetError):
    """A network that cannot be written as ONNX, or a file that does not compute what the network does."""


class CutError(ExportError):
    """A graph that cannot be cut as its network was."""


class DeviceError(SupernetError):
    """A device or runtime that this machine does not have, or an option it does not take."""
