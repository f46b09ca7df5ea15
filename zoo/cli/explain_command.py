"""``supernet explain``: where the time of a network goes, and which choices pay on a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.session import Session, as_typed, in_session
from zoo.cli.typed import Config, Device, RunFolder

if TYPE_CHECKING:
    from zoo.cli.narrator import Narrator
    from zoo.pipeline.explaining import Explained


@in_session
def explain(
    session: Session,
    arch: Annotated[str, typer.Argument(help="A network, as `supernet show` takes it.")] = "knee",
    run: RunFolder = None,
    config: Config = None,
    device: Device = "",
) -> None:
    """Where the milliseconds of a subnet go, which choices pay on the device, and what is smaller and slower."""
    from zoo.pipeline.explaining import draw_explanation, explain_network
    from zoo.pipeline.find import find
    from zoo.pipeline.mixed import on
    from zoo.pipeline.workspace import opened

    workspace, narrator = on(opened(session.open(run, config, None)), [device]), session.narrator
    found = explain_network(workspace, find(workspace, arch, device), device)
    _print(found, narrator)
    png = draw_explanation(
        found, workspace.run.profile_on(device) / f"explained-{found.time.arch}.png", as_typed()
    )
    narrator.say(f"The blocks as a picture: {png}")
    session.result({"run": workspace.run.folder, "figure": png, "explained": found})


def _print(found: Explained, narrator: Narrator) -> None:
    """What was found out, as a table and as sentences."""
    time = found.time
    narrator.table(
        f"{time.arch}: {time.total_ms:.3g} ms on {time.device.name}, block by block",
        [
            {
                "block": row.block or "(the network)",
                "ms": f"{row.ms:.4f}",
                "time": f"{row.share:.1%}",
                "MACs": f"{row.macs_share:.1%}",
                "fused": _counts(row.fused),
                "added": _counts(row.added),
            }
            for row in time.rows
        ],
        text=("fused", "added"),
    )
    narrator.table(
        f"which choice pays, against the largest network; a step of less than {found.off:.1%} of its time saves "
        "nothing, as second measurements differ by that",
        [
            {"what": str(saving), "ms in all": f"{saving.ms:.4f}", "pays": _PAYS[saving.verdict]}
            for saving in found.savings
        ],
        text=("pays",),
    )
    for pair in found.slower[:3]:
        narrator.say(f"Note: {pair}.")
    if not found.slower:
        narrator.say("Of the networks that were measured, none is smaller than another and slower.")


_PAYS = {"saves": "yes", "nothing": "no", "costs": "it costs"}


def _counts(operators: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in operators.items())
