"""``supernet differentiate``: one training that is a search as well."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from supernet.errors import ConfigError
from zoo.cli.session import Session, in_session
from zoo.cli.typed import Config, Data, Model, RunFolder, Set


@in_session
def differentiate(
    session: Session,
    run: RunFolder = None,
    config: Config = None,
    data: Data = None,
    model: Model = None,
    set_: Set = None,
    method: Annotated[str, typer.Option(help="How weights of candidates are made of logits.")] = "pc_darts",
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="One option of the method; may be repeated."),
    ] = None,
    order: Annotated[str, typer.Option(help="first, second or exact.")] = "first",
    warmup: Annotated[float, typer.Option(help="Share of the epochs in which only weights learn.")] = 0.3,
    lr: Annotated[float, typer.Option(help="Of the logits.")] = 6e-4,
) -> None:
    """Train a supernet and choose one network of it, by gradients; goes on where it stopped."""
    from supernet.config import decode
    from supernet.differentiable import DifferentiableOptions
    from zoo.pipeline.differentiating import differentiate as step

    typed = {"method": method, "method_options": options(option or ()), "order": order}
    search = decode({**typed, "warmup": warmup, "lr": lr}, DifferentiableOptions, "differentiate")
    opened = session.open(run, config, set_, data=data, model=model, first="default")
    with session.narrator.progress() as progress:
        trainer = step(opened, search, progress)
    if trainer.plan is not None:
        session.narrator.say(f"Within train.memory, {trainer.plan}.")
    arch = trainer.architecture
    values = json.dumps(dict(trainer.supernet.space.decode(arch)))
    session.narrator.say(f"{method} chose {arch.id}: {trainer.words()}.")
    session.narrator.say(f"{opened.supernet} holds the supernet. Next: {opened.command('show', values)}")
    session.result(
        {"run": opened.folder, "id": arch.id, "genes": list(arch.genes), "history": trainer.history}
    )


def options(typed: Sequence[str]) -> dict[str, Any]:
    """The options of a method from ``key=value``; values as in JSON.

    Raises:
        ConfigError: for one without ``=``, or a value that JSON does not know.
    """
    found = {}
    for one in typed:
        key, _, value = one.partition("=")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError as error:
            raise ConfigError(
                f"--option was given {one!r}; it has to be like temperature=0.5, a name and a number"
            ) from error
    return found
