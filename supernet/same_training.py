"""Whether a checkpoint is of the training that is to go on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supernet.config import to_plain
from supernet.errors import StateError
from supernet.memory.modes import is_exact
from supernet.options import TrainOptions
from supernet.wording import counted

FREE = frozenset({"checkpoint_seconds", "device", "threads", "rollbacks", "watched", "memory"})
"""Options that a run may change when it goes on."""
_LENGTH = frozenset({"epochs", "restarts"})


def check_same(
    path: Path, earlier: Mapping[str, Any], now: Mapping[str, Any], options: TrainOptions, *, ended: bool
) -> None:
    """Refuse the checkpoint of another training; the same one may have become longer.

    Args:
        path: of the checkpoint, for messages.
        earlier: what it belongs to, as plain JSON values. An option that was not there yet was at its default.
        now: what is asked for, likewise.
        options: the recipe that is asked for.
        ended: whether nothing is left to train; any number of processes may look at that.

    Raises:
        StateError: naming what differs, both values, and what can be done.
    """
    _check_stretches(path, earlier, options)
    before = {**to_plain(TrainOptions()), "processes": 1, **earlier}
    for key in dict.fromkeys([*now, *before]):
        theirs, ours = before.get(key), now.get(key)
        if theirs == ours or key in _LENGTH | FREE or (key == "processes" and ended):
            continue
        if key == "execution" and theirs and ours and is_exact(theirs) and is_exact(ours):
            continue
        hint = f"start {theirs} (torchrun --nproc-per-node {theirs}), " if key == "processes" else ""
        raise StateError(
            f"{path} is of another training: its {key} is {theirs!r}, now {ours!r} is asked; "
            f"{hint}choose another folder, or remove the file to start anew"
        )


def _check_stretches(path: Path, earlier: Mapping[str, Any], options: TrainOptions) -> None:
    """A training may become longer: by schedules after those that it had."""
    epochs, restarts = earlier["epochs"], tuple(earlier.get("restarts", ()))
    if not options.goes_on_from(TrainOptions(epochs=epochs, restarts=restarts)):
        raise StateError(
            f"{path} is of a training of {counted(epochs, 'epoch')}, whose schedule ends there; "
            f"{options.epochs} with restarts {list(options.restarts)} is another one. It can go on "
            f"with a schedule anew (supernet train --until EPOCHS, in Python TrainOptions.until); or choose "
            f"another folder"
        )
