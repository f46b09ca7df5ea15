"""What is said of files in eight bits."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.cli.narrator import Narrator
from zoo.pipeline.eight_bits import EightBits
from zoo.pipeline.prove import Proof


def print_eight_bits(proofs: Sequence[Proof], found: Sequence[EightBits], narrator: Narrator) -> None:
    """Files in eight bits beside those in float; nothing where there are none."""
    if not found:
        return
    rows = [
        {
            "": small.name,
            "types": small.types,
            "test": f"{small.test} instead of {proof.test}",
            "ms": f"{small.ms:.3f} instead of {proof.measured.median_ms:.3f}",
            "KiB": f"{small.size_bytes / 1024:.0f} instead of {proof.onnx.size_bytes / 1024:.0f}",
            "over float": ", ".join(f"{types} {ratio:.2f}" for types, ratio in small.over_float.items()),
        }
        for small, proof in zip(found, proofs)
    ]
    narrator.table("in eight bits; the latency over float, by types", rows, text=("types", "over float"))
    slower = [small.name for small in found if small.over_float[small.types] > 1]
    if slower:
        narrator.say(f"Note: in eight bits {', '.join(slower)} is slower than in float on this device.")
