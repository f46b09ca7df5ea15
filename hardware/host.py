"""What an agent tells of the machine it is on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Host:
    """The machine's part of a `Device`, as the machine itself tells it.

    Args:
        chip: the processor as it calls itself.
        system: operating system and instruction set.
        version: of ONNX Runtime there.
        provider: of ONNX Runtime there.
        pinned: cores that a measuring thread is kept on.
        governor: what sets the clock.
    """

    chip: str
    system: str
    version: str
    provider: str
    pinned: int
    governor: str
