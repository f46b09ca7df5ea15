"""The whole road once, in plain words: train, profile, search, choose and prove, publish and pull, show."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from search.front import front
from search.report import rows
from supernet.trainer import Trainer
from supernet.wording import counted
from zoo.cli.narrator import Narrator
from zoo.cli.precision_printing import print_precision
from zoo.cli.printing import (
    looked_at,
    print_beginning,
    print_data,
    print_kept,
    print_limits,
    print_offer,
    print_proofs,
    print_remark,
)
from zoo.cli.profile_printing import print_profile
from zoo.cli.report_printing import print_ended
from zoo.pipeline.comparing import Found, search_and_compare
from zoo.pipeline.entries import publish_proofs
from zoo.pipeline.figure import draw_front, draw_profile
from zoo.pipeline.kept import PROFILE, SEARCH, TRAINING
from zoo.pipeline.mixed import on
from zoo.pipeline.pick import Picked, pick
from zoo.pipeline.profiling import Profiled, profile_device
from zoo.pipeline.prove import Proof, prove
from zoo.pipeline.pull_back import PulledBack, pull_back
from zoo.pipeline.run import Run
from zoo.pipeline.searching import Searched, archive_of
from zoo.pipeline.training import train
from zoo.pipeline.workspace import Workspace, opened, read
from zoo.store.manifest import Manifest


@dataclass(frozen=True)
class Walked:
    """The whole road, walked once.

    Args:
        trainer: of the supernet.
        workspace: with the trained supernet.
        known: what was timed and learnt from it.
        searched: the front and the random one.
        chosen: what was proven, and why.
        proofs: of the chosen subnets.
        published: their entries in the zoo.
        back: the one that was pulled.
        front: the picture of the front.
        predictions: the picture of predicted against measured.
        seconds: all of it.
    """

    trainer: Trainer
    workspace: Workspace
    known: Profiled
    searched: Searched
    chosen: Picked
    proofs: Sequence[Proof]
    published: Sequence[Manifest]
    back: PulledBack
    front: Path
    predictions: Path
    seconds: float


def quickstart(run: Run, narrator: Narrator, command: str) -> Walked:
    """Walk the whole road; every step goes on where an earlier call in the same folder stopped.

    Args:
        run: where and with which options.
        narrator: who tells it.
        command: what was typed, for the figures.

    Raises:
        SupernetError: with a message for the user, from whichever step.
    """
    start = time.monotonic()
    trainer, trained = _train(run, narrator)
    workspace = on(trained, [""])
    found = _search(workspace, _profile(workspace, narrator), narrator)
    (known,), searched = found.known, found.searched
    chosen, proofs = _prove(workspace, known, narrator)
    published, back = _publish_and_pull(workspace, known, proofs, narrator)
    pictures = (
        draw_front(workspace, known, searched, command, proofs=proofs),
        draw_profile(workspace, known, command),
    )
    _show(workspace, known, searched, proofs, pictures, narrator)
    seconds = time.monotonic() - start
    narrator.say(f"All of it took {seconds:.0f} seconds.")
    return Walked(trainer, workspace, known, searched, chosen, proofs, published, back, *pictures, seconds)


def _train(run: Run, narrator: Narrator) -> tuple[Trainer, Workspace]:
    narrator.heading("1. Train one supernet")
    print_kept(run, TRAINING, narrator)
    with narrator.progress() as progress:
        data = read(run, progress)
    print_data(data, narrator)
    with narrator.progress() as progress:
        trainer = train(run, progress, data)
    print_offer(run, data.task, narrator)
    print_beginning(trainer, narrator)
    workspace = opened(run, data)
    space = workspace.net.space
    narrator.say(
        f"One set of weights now holds 10^{space.log10_size:.1f} networks ({counted(len(space), 'choice')})."
    )
    narrator.say(f"On the search split: {trainer.words()}.")
    narrator.say(f"Curves: {shlex.join(['tensorboard', '--logdir', str(run.training)])}")
    return trainer, workspace


def _profile(workspace: Workspace, narrator: Narrator) -> Profiled:
    narrator.heading("2. Profile this machine")
    print_kept(workspace.run, PROFILE, narrator)
    with narrator.progress() as progress:
        known = profile_device(workspace, progress)
    print_profile(known, narrator)
    return known


def _search(workspace: Workspace, known: Profiled, narrator: Narrator) -> Found:
    narrator.heading("3. Search the Pareto front")
    print_limits(workspace.run.options.search, narrator)
    print_kept(workspace.run, SEARCH, narrator)
    with narrator.progress() as progress:
        found = search_and_compare(workspace, [known], progress)
    narrator.say(looked_at(found.searched))
    print_ended(workspace.run, found.searched, narrator)
    print_precision(found, narrator)
    return found


def _prove(workspace: Workspace, known: Profiled, narrator: Narrator) -> tuple[Picked, list[Proof]]:
    narrator.heading("4. Choose three, and prove them")
    print_limits(workspace.run.options.search, narrator)
    chosen = pick(workspace, known)
    print_remark(chosen, narrator)
    with narrator.progress() as progress:
        proofs = prove(workspace, known, chosen.archs, progress)
    print_proofs(proofs, narrator)
    return chosen, proofs


def _publish_and_pull(
    workspace: Workspace, known: Profiled, proofs: Sequence[Proof], narrator: Narrator
) -> tuple[list[Manifest], PulledBack]:
    narrator.heading("5. Publish, and pull one back")
    entries = publish_proofs(workspace, list(proofs), known.profile)
    narrator.say(
        f"{counted(len(entries), 'entry', 'entries')} in {workspace.run.store}, each with a manifest."
    )
    back = pull_back(workspace, proofs)
    narrator.say(
        f"Asked for the best under {back.limit_ms:.3f} ms on this device: {back.pulled.manifest.id}."
    )
    narrator.say(
        f"Pulled {counted(len(back.pulled.files), 'file')}, every hash checked; it runs: "
        f"{back.result.scores[0].metric.name} {back.result} examples of the test split."
    )
    return entries, back


def _show(
    workspace: Workspace,
    known: Profiled,
    searched: Searched,
    proofs: Sequence[Proof],
    pictures: tuple[Path, Path],
    narrator: Narrator,
) -> None:
    run, result = workspace.run, searched.result
    quality = workspace.quality.name
    two = [objective for objective in result.objectives if objective.name in (known.latency, quality)]
    narrator.heading("6. Where everything lies")
    narrator.table(
        f"the front of {known.latency} and {quality}", rows(front(result.front, two), result.objectives)
    )
    places: dict[str, Path | str] = {
        "the front as a picture": pictures[0],
        "predicted against measured": pictures[1],
        "the trained supernet": run.supernet,
        "every network evaluated": archive_of(workspace),
        "every measurement": run.profile / "profile.json",
        "the ONNX files": run.subnets,
        "the zoo": run.store,
    }
    for what, where in places.items():
        narrator.say(f"{what}: {where}")
    limit = ("--max-latency-ms", f"{proofs[len(proofs) // 2].measured.median_ms:.3f}")
    narrator.heading("Try next")
    narrator.say(run.command("show", "knee"))
    narrator.say(run.command("search", *limit))
    narrator.say(run.command("zoo pull", *limit, "--into", "subnet"))
    narrator.say("supernet train --run runs/mine --data folder:PATH --set data.resolution=32")
