"""The file that ONNX Runtime runs for an exported one, here or elsewhere: one in eight bits lies beside it."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from hardware.options import EIGHT_BITS
from supernet.elastic.inputs import Inputs

_LOCK = Lock()


def file_run(exported: Path, precision: str) -> Path:
    """Where it is; in float it is the exported file itself."""
    return exported.with_suffix(f".{precision}.onnx") if precision in EIGHT_BITS else exported


def file_made(exported: Path, precision: str, inputs: Inputs) -> Path:
    """The same, put into eight bits now where it was not before, once for all devices that are profiled side by side.

    Args:
        exported: as `hardware.export.export_onnx` writes it.
        precision: of the device.
        inputs: what ranges are taken from; they decide how good the network is and not how fast.

    Raises:
        ExportError: when ONNX Runtime cannot quantise the network.
        StateError: when the place cannot be written to.
    """
    from hardware.quantise import QuantiseOptions, quantise

    path = file_run(exported, precision)
    with _LOCK:
        if path != exported and not path.exists():
            quantise(exported, [inputs], path, QuantiseOptions(precision))
    return path
