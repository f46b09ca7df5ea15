"""A run: a folder that holds one supernet and all that was learnt about it.

config.toml     what was asked, every option written out
training/       checkpoint and TensorBoard log
supernet/       the trained supernet (`Supernet.load`)
profile/        what was measured on which device
search/         every network a search evaluated, and the random baseline
subnets/NAME/   the chosen ones: model.onnx, model.safetensors, proof.json
zoo/            where they are published, unless the options name another store
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from supernet.config import decode, override, read_toml, to_plain, to_toml
from supernet.errors import StateError
from supernet.files import write_atomically
from supernet.options import absolute
from zoo.pipeline.options import RunOptions

CONFIG = "config.toml"
LOCKED = {
    "data": "training",
    "supernet": "training",
    "train": "training",
    "device": "profile",
    "profile": "profile",
}
"""Sections that may not change any more once the folder on the right holds something."""


@dataclass(frozen=True)
class Run:
    """One run.

    Args:
        folder: where everything lies.
        options: what it was told.
    """

    folder: Path
    options: RunOptions

    def keep(self) -> None:
        """Write the options into the folder, for the steps that follow.

        Raises:
            StateError: when the folder cannot be written to.
        """
        write_atomically(self.folder / CONFIG, to_toml(self.options))

    @property
    def training(self) -> Path:
        """Checkpoint and TensorBoard log."""
        return self.folder / "training"

    @property
    def supernet(self) -> Path:
        """The trained supernet."""
        return self.folder / "supernet"

    @property
    def profile(self) -> Path:
        """What was measured."""
        return self.folder / "profile"

    @property
    def search(self) -> Path:
        """The archives."""
        return self.folder / "search"

    @property
    def subnets(self) -> Path:
        """The chosen networks."""
        return self.folder / "subnets"

    @property
    def store(self) -> str:
        """Where they are published."""
        return self.options.zoo.store or str(self.folder / "zoo")


def open_run(folder: Path, config: Path | None = None, changes: Iterable[str] = ()) -> Run:
    """The run in a folder, new or going on; nothing is written before a step calls `Run.keep`.

    Args:
        folder: where the run lies, or will.
        config: a TOML file; None goes on with what the folder holds, or the defaults.
        changes: ``"train.epochs=3"`` and the like; they win over the file.

    Raises:
        ConfigError: for an unknown key or a wrong value.
        StateError: when an option would change that earlier work in the folder rests on.
    """
    kept = folder / CONFIG
    stored = _anchored(read_toml(kept, RunOptions)) if kept.exists() else None
    if config is not None:
        options = read_toml(config, RunOptions, changes)
    else:
        options = decode(override(to_plain(stored or RunOptions()), changes), RunOptions)
    options = _anchored(options)
    if stored is not None:
        _check(folder, stored, options)
    return Run(folder, options)


def _anchored(options: RunOptions) -> RunOptions:
    """The options with a data path that the next command understands, from whatever folder it is typed."""
    return replace(options, data=replace(options.data, source=absolute(options.data.source)))


def _check(folder: Path, stored: RunOptions, asked: RunOptions) -> None:
    for section, evidence in LOCKED.items():
        if not (folder / evidence).exists():
            continue
        before, now = getattr(stored, section), getattr(asked, section)
        for option in fields(before):
            old, new = getattr(before, option.name), getattr(now, option.name)
            if old != new:
                raise StateError(
                    f"{folder} was made with {section}.{option.name} = {old!r}, now {new!r} is asked; "
                    f"choose another folder with --run, or remove {folder / evidence} to start that step anew"
                )
