"""Where precision went on a front, and where eight bits were no faster, for a person and for a program."""

from __future__ import annotations

import json
from collections.abc import Iterable

from hardware.measurement import Measurement
from supernet.space import Architecture
from supernet.wording import counted
from zoo.cli.documents import Document
from zoo.cli.narrator import Narrator
from zoo.pipeline.comparing import Found
from zoo.pipeline.faster import compared
from zoo.pipeline.mixed import MixedWorkspace
from zoo.pipeline.profiling import Profiled
from zoo.pipeline.workspace import Workspace


def print_precision(found: Found, narrator: Narrator) -> None:
    """Of each device, stage by stage, and what was replaced; nothing where stages have no precision."""
    for device, shares in found.eight.items():
        of = f" on {device}" if device else ""
        narrator.table(
            f"where precision went{of}",
            [
                {"stage": stage, "in eight bits": f"{share:.0%} of the front"}
                for stage, share in shares.items()
            ],
        )
        replaced = found.replaced[device]
        for pair in replaced:
            slower = pair.mixed.median_ms >= pair.twin.median_ms
            narrator.say(
                f"Note: {pair.mixed.arch} in eight bits is not faster{of} than in float"
                f"{'' if slower else ' by more than both measurements are unsure'} ({_ms(pair.mixed)}, "
                f"{_ms(pair.twin)}): {pair.twin.arch}, the same in float, takes its place."
            )
        if not any(shares.values()):
            why = (
                "what was found so is not measured to be faster" if replaced else "others in float are better"
            )
            narrator.say(f"No network of the front{of} has a stage in eight bits: {why}.")
        if found.left[device]:
            narrator.say(
                f"{counted(found.left[device], 'network')} in eight bits were not compared with float and are not on "
                f"the front{of}; the same search goes on with them, or allow more search.verify_rounds."
            )


def _ms(found: Measurement) -> str:
    return f"{found.median_ms:.3f} ms ± {found.ci:.0%}"


def print_not_faster(
    workspace: Workspace, known: Profiled, archs: Iterable[Architecture], narrator: Narrator
) -> None:
    """Of networks that were named, those in eight bits that nobody has measured to be faster than in float."""
    if not isinstance(workspace, MixedWorkspace):
        return
    faster = {pair.mixed.arch for pair in compared(workspace.precision, known) if pair.faster}
    for arch in dict.fromkeys(archs):
        if workspace.precision.stages_in_eight(arch) and arch.id not in faster:
            genes = json.dumps(workspace.precision.twin(arch).genes)
            narrator.say(
                f"Note: {arch.id} has stages in eight bits and was not measured to be faster so than in float, "
                f"which is --arch '{genes}'."
            )


def document(found: Found) -> Document:
    """For each device, by its name: the share of its front with each stage in eight bits, and what was replaced."""
    if not found.eight:
        return {}
    return {
        "precision": {
            device: {
                "in_eight_bits": shares,
                "not_compared": found.left[device],
                "replaced": [
                    {
                        "network": pair.mixed.arch,
                        "measured": pair.mixed,
                        "by": pair.twin.arch,
                        "float": pair.twin,
                    }
                    for pair in found.replaced[device]
                ],
            }
            for device, shares in found.eight.items()
        }
    }
