"""How a search ended and what its front has in common, said to a person."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from search.common import Trait
from supernet.wording import counted
from zoo.cli.narrator import Narrator
from zoo.pipeline.run import Run
from zoo.pipeline.searching import Searched


def print_ended(run: Run, searched: Searched, narrator: Narrator) -> None:
    """Why a search ended before its budget was spent, and what goes on; nothing when it was spent."""
    found, options = searched.result, run.options.search
    so_far = f"after {found.spent:,} of {counted(options.evaluations, 'network')}"
    words = {
        "time": f"Its time is over {so_far}; the same command goes on.",
        "plateau": f"The front has grown by less than {options.plateau:.2g} of its hypervolume in the last "
        f"{counted(options.plateau_evaluations, 'network')}, and the search ends {so_far}; "
        f"--set search.plateau=0 goes on.",
        "space": f"Nothing new is left to propose {so_far}.",
    }
    if found.ended in words:
        narrator.say(words[found.ended])
    narrator.say(f"Curves: {shlex.join(['tensorboard', '--logdir', str(run.search)])}")


def print_common(device: str, alike: Sequence[Trait], narrator: Narrator) -> None:
    """The usual value of every kind of choice, stage by stage, and how usual it is."""
    rows: dict[str, dict[str, str]] = {}
    for trait in alike:
        rows.setdefault(trait.stage, {"stage": trait.stage})[trait.kind] = str(trait)
    of = f" of {device}" if device else ""
    narrator.table(f"what the front{of} has in common: the usual value, and its share", list(rows.values()))
