"""Whether a checkpoint is of the training that is to go on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supernet.errors import StateError
from supernet.options import TrainOptions
from supernet.wording import counted

_LENGTH = ("epochs", "restarts")


def check_same(path: Path, earlier: Mapping[str, Any], now: Mapping[str, Any], options: TrainOptions) -> None:
    """Refuse the checkpoint of another training; the same one may have become longer.

    Args:
        path: of the checkpoint, for messages.
        earlier: what it belongs to, as plain JSON values.
        now: what is asked for, likewise.
        options: the recipe that is asked for.

    Raises:
        StateError: naming what differs.
    """
    _check_stretches(path, earlier, options)
    for key, ours in now.items():
        theirs = earlier.get(key)
        if theirs != ours and key not in _LENGTH:
            raise StateError(
                f"{path} is of another training: its {key} is {theirs!r}, now {ours!r} is asked; "
                f"choose another folder, or remove the file to start anew"
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
