"""A run split into several: parts of its supernet, each a run of its own that trains on from the shared weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

from supernet.errors import StateError
from supernet.options import SAVED, SupernetOptions
from supernet.space import Value
from supernet.splitting import Split, split
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.run import CONFIG, Run
from zoo.pipeline.workspace import opened

PARTS = "parts"
"""Folder of a run that holds the supernets its parts begin with."""


@dataclass(frozen=True)
class Part:
    """One of the runs that a run was split into.

    Args:
        run: with the options of the whole, and its part of the supernet as the model.
        values: of the choice that was split, those it holds.
        log10_size: of the number of its networks.
    """

    run: Run
    values: tuple[Value, ...]
    log10_size: float


def split_run(
    run: Run, by: str = "gradients", count: int = 2, progress: Progress = silent
) -> tuple[Split, list[Part]]:
    """Split a trained run where its weights are wanted to be different things; the run itself stays as it is.

    Args:
        by: a measure of `supernet.splitting.split`.
        count: how many parts. They are runs beside this one, called like it with a number behind.

    Raises:
        StateError: when the run is not trained, or a run of such a name is there.
        SpaceError: when no choice that always matters has as many values.
        SupernetError: for an unknown measure.
    """
    beside = [run.folder.with_name(f"{run.folder.name}-{number}") for number in range(1, count + 1)]
    for folder in beside:
        if (folder / CONFIG).exists():
            raise StateError(f"{folder} is a run already; remove it, or split a copy of {run.folder}")
    workspace = opened(run)
    dataset = workspace.read(progress)
    found = split(workspace.net, dataset, by, count, seed=run.options.train.seed)
    parts = []
    for folder, net in zip(beside, found.parts):
        begun = net.save(run.folder / PARTS / folder.name).absolute()
        own = Run(folder, replace(run.options, supernet=SupernetOptions(model=f"{SAVED}{begun}")))
        own.keep()
        parts.append(Part(own, tuple(net.space[found.choice].values), net.space.log10_size))
    return found, parts
