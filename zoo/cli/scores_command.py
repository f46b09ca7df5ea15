"""``supernet scores``: what can be told of networks without evaluating them, and how far it can be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.session import Session, in_session
from zoo.cli.typed import Config, RunFolder

if TYPE_CHECKING:
    from zoo.cli.narrator import Narrator
    from zoo.pipeline.scoring import Scored


@in_session
def scores(
    session: Session,
    run: RunFolder = None,
    config: Config = None,
    score: Annotated[list[str] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    count: Annotated[int, typer.Option(help="Networks to score: of the search, where it has so many.")] = 24,
    examples: Annotated[int, typer.Option(help="Training examples that are shown, in one batch.")] = 32,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="With weights drawn anew, as before a training; else the trained ones."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of networks, examples and weights.")] = 0,
) -> None:
    """Zero-cost scores of some networks, and how well each ranks those that the search has evaluated."""
    from zoo.pipeline.scoring import score_networks
    from zoo.pipeline.workspace import opened

    workspace, narrator = opened(session.open(run, config, None)), session.narrator
    with narrator.progress() as progress:
        found = score_networks(
            workspace, score or (), count=count, examples=examples, fresh=fresh, seed=seed, progress=progress
        )
    _print(found, workspace.quality.name, narrator)
    session.result(
        {
            "run": workspace.run.folder,
            "networks": [arch.id for arch in found.archs],
            "scores": found.values,
            "refused": found.refused,
            workspace.quality.name: list(found.quality),
            "tau": found.tau,
        }
    )


def _print(found: Scored, quality: str, narrator: Narrator) -> None:
    """A row for each score."""
    names = [*found.values, *(name for name in found.tau if name not in found.values)]
    narrator.table(
        f"scores of {len(found.archs)} networks",
        [
            {
                "score": name,
                "least": _number(min(found.values[name])) if name in found.values else "",
                "most": _number(max(found.values[name])) if name in found.values else "",
                "rank correlation": f"{found.tau[name]:.2f}" if name in found.tau else "",
            }
            for name in names
        ],
        text=("score",),
    )
    if found.tau:
        narrator.say(
            f"Rank correlation is Kendall's, with the {quality} that the search found; 1 is the same order, 0 is "
            f"chance. What does not beat params and macs adds nothing."
        )
    else:
        narrator.say(
            "Nothing tells yet which of them to believe: a search evaluates networks to hold them against."
        )
    for name, why in found.refused.items():
        narrator.say(f"{name}: {why}.")


def _number(value: float) -> str:
    return f"{value:.4g}"
