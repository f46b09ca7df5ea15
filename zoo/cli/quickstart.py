"""The whole road once, in plain words: train, profile, search, choose and prove, publish and pull, show."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from search.report import rows
from supernet.wording import counted
from zoo.cli.narrator import Narrator
from zoo.cli.printing import (
    looked_at,
    print_data,
    print_kept,
    print_limits,
    print_profile,
    print_proofs,
    print_remark,
)
from zoo.pipeline.entries import publish_proofs
from zoo.pipeline.figure import draw_front, draw_profile
from zoo.pipeline.kept import PROFILE, SEARCH, TRAINING
from zoo.pipeline.pick import pick
from zoo.pipeline.prove import Proof, prove
from zoo.pipeline.pull_back import pull_back
from zoo.pipeline.run import Run
from zoo.pipeline.steps import (
    Profiled,
    Searched,
    Workspace,
    opened,
    profile_device,
    read,
    search_front,
    train,
)


def quickstart(run: Run, narrator: Narrator, command: str) -> list[Proof]:
    """Walk the whole road; every step goes on where an earlier call in the same folder stopped.

    Args:
        run: where and with which options.
        narrator: who tells it.
        command: what was typed, for the figure.

    Returns:
        What was proven of the three chosen subnets.

    Raises:
        SupernetError: with a message for the user, from whichever step.
    """
    start = time.monotonic()
    workspace = _train(run, narrator)
    known = _profile(workspace, narrator)
    searched = _search(workspace, known, narrator)
    proofs = _prove(workspace, known, narrator)
    _publish_and_pull(workspace, known, proofs, narrator)
    _show(workspace, known, searched, proofs, narrator, command)
    narrator.say(f"All of it took {time.monotonic() - start:.0f} seconds.")
    return proofs


def _train(run: Run, narrator: Narrator) -> Workspace:
    narrator.heading("1. Train one supernet")
    print_kept(run, TRAINING, narrator)
    with narrator.progress() as progress:
        data = read(run, progress)
    print_data(data, narrator)
    with narrator.progress() as progress:
        trainer = train(run, progress, data)
    workspace = opened(run, data)
    space = workspace.net.space
    narrator.say(
        f"One set of weights now holds 10^{space.log10_size:.1f} networks ({counted(len(space), 'choice')})."
    )
    narrator.say(f"On the search split: {trainer.words()}.")
    narrator.say(f"Curves: {shlex.join(['tensorboard', '--logdir', str(run.training)])}")
    return workspace


def _profile(workspace: Workspace, narrator: Narrator) -> Profiled:
    narrator.heading("2. Profile this machine")
    print_kept(workspace.run, PROFILE, narrator)
    with narrator.progress() as progress:
        known = profile_device(workspace, progress)
    print_profile(known, narrator)
    return known


def _search(workspace: Workspace, known: Profiled, narrator: Narrator) -> Searched:
    narrator.heading("3. Search the Pareto front")
    print_limits(workspace.run.options.search, narrator)
    print_kept(workspace.run, SEARCH, narrator)
    with narrator.progress() as progress:
        searched = search_front(workspace, known, progress)
    narrator.say(looked_at(searched))
    return searched


def _prove(workspace: Workspace, known: Profiled, narrator: Narrator) -> list[Proof]:
    narrator.heading("4. Choose three, and prove them")
    print_limits(workspace.run.options.search, narrator)
    chosen = pick(workspace, known)
    print_remark(chosen, narrator)
    with narrator.progress() as progress:
        proofs = prove(workspace, known, chosen.archs, progress)
    print_proofs(proofs, narrator)
    return proofs


def _publish_and_pull(
    workspace: Workspace, known: Profiled, proofs: Sequence[Proof], narrator: Narrator
) -> None:
    narrator.heading("5. Publish, and pull one back")
    entries = publish_proofs(workspace, list(proofs), known.profile)
    narrator.say(
        f"{counted(len(entries), 'entry', 'entries')} in {workspace.run.store}, each with a manifest."
    )
    back = pull_back(workspace, proofs)
    entry = back.pulled.manifest
    narrator.say(f"Asked for the best under {back.limit_ms:.3f} ms on this device: {entry.id}.")
    narrator.say(
        f"Pulled {counted(len(back.pulled.files), 'file')}, every hash checked; it runs: "
        f"{back.result.scores[0].metric.name} {back.result} examples of the test split."
    )


def _show(
    workspace: Workspace,
    known: Profiled,
    searched: Searched,
    proofs: Sequence[Proof],
    narrator: Narrator,
    command: str,
) -> None:
    narrator.heading("6. Where everything lies")
    narrator.table("the front (search split)", rows(searched.result.front, searched.result.objectives))
    png = draw_front(workspace, known, searched, command, proofs=proofs)
    predictions = draw_profile(workspace, known, command)
    places: dict[str, Path | str] = {
        "the front as a picture": png,
        "predicted against measured": predictions,
        "the trained supernet": workspace.run.supernet,
        "every network evaluated": workspace.run.search / "archive.jsonl",
        "every measurement": workspace.run.profile / "profile.json",
        "the ONNX files": workspace.run.subnets,
        "the zoo": workspace.run.store,
    }
    for what, where in places.items():
        narrator.say(f"{what}: {where}")
    limit = proofs[len(proofs) // 2].measured.median_ms
    narrator.heading("Try next")
    narrator.say(workspace.run.command("search", "--max-latency-ms", f"{limit:.3f}"))
    narrator.say(workspace.run.command("zoo pull", "--max-latency-ms", f"{limit:.3f}", "--into", "subnet"))
    narrator.say("supernet train --run runs/mine --data folder:PATH --set data.resolution=32")
