"""A run: a folder that holds one supernet and all that was learnt about it.

config.toml     what was asked, every option written out
training/       checkpoint and TensorBoard log
supernet/       the trained supernet (`Supernet.load`)
profile/        what was measured on the run's own device, and in profile/NAME/ on others
search/         every network a search evaluated, TensorBoard log, and the baselines
subnets/NAME/   the chosen ones: model.onnx, model.safetensors; those for another device in subnets/DEVICE/NAME/
zoo/            where they are published, unless the options name another store
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path

from hardware.described import read_device
from hardware.options import DeviceOptions
from supernet.config import decode, override, read_toml, to_plain, to_toml, without
from supernet.errors import StateError
from supernet.files import write_atomically
from supernet.options import absolute
from zoo.pipeline.options import RunOptions

CONFIG = "config.toml"
PROFILE, JOURNAL = "profile.json", "journal.jsonl"
"""What was measured on a device, and line by line."""
RUNS = Path("runs")
LOCKED = {
    "data": "training",
    "supernet": "training",
    "train": "training",
    "device": "profile",
    "profile": "profile",
}
"""Sections that may not change any more once the folder on the right holds something."""
FREE = ("workers", "corrupt", "memory")
"""What may change there all the same: the numbers stay what they are."""
LENGTH = ("epochs", "restarts")
"""What of a training may, as long as it begins as it did."""


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

    def command(self, *words: str) -> str:
        """What to type into a shell for another step of this run: ``supernet search --run runs/mine``."""
        step, *rest = words
        return shlex.join(["supernet", *step.split(), "--run", str(self.folder), *rest])

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

    def profile_on(self, device: str) -> Path:
        """What was measured on a device; the run's own when empty."""
        return self.profile / device if device else self.profile

    @property
    def exports(self) -> Path:
        """Files that several devices are measured with, while they are."""
        return self.profile / "exports"

    @property
    def devices(self) -> list[str]:
        """The names of the devices that something was measured on, without the run's own."""
        return sorted({path.parent.name for path in self.profile.glob(f"*/{JOURNAL}")})

    def device(self, name: str) -> DeviceOptions:
        """How a device is reached and used: as described in the user's home; the run's own when empty.

        Raises:
            ConfigError: for a bad name, or a description that is damaged.
            DeviceError: for a name that nobody gave; the message names the nearest.
        """
        return read_device(name) if name else self.options.device

    @property
    def search(self) -> Path:
        """The archives."""
        return self.folder / "search"

    @property
    def subnets(self) -> Path:
        """The chosen networks."""
        return self.folder / "subnets"

    def subnets_for(self, device: str) -> Path:
        """The networks chosen for a device; the run's own when empty."""
        return self.subnets / device if device else self.subnets

    @property
    def store(self) -> str:
        """Where they are published."""
        return self.options.zoo.store or str(self.folder / "zoo")


def devices_typed(devices: Sequence[str]) -> list[str]:
    """What to type for some devices: nothing for the run's own."""
    return [word for name in devices if name for word in ("--device", name)]


def find_run(named: str | None, first: str | None = None) -> Path:
    """The folder of a run: the one named, else the one used last in ``runs``.

    Args:
        named: as typed; None when nothing was.
        first: name of the run to begin where ``runs`` holds none; None refuses.

    Raises:
        StateError: for a blank name, or when there is no run to go on with.
    """
    if named is not None:
        return folder_named(named, "--run")
    known = sorted(RUNS.glob(f"*/{CONFIG}"), key=_used)
    if known:
        return known[-1].parent
    if first is None:
        raise StateError(
            f"no run was named and {RUNS.absolute()} holds none; name one with --run FOLDER, "
            f"or begin one: supernet quickstart"
        )
    return RUNS / first


def folder_named(typed: str, option: str) -> Path:
    """The folder that somebody typed after an option.

    Raises:
        StateError: for a blank one, which would otherwise be the folder one happens to be in.
    """
    if not typed.strip():
        raise StateError(
            f"{option} {typed!r} names no folder; name one ('.' is this one), or leave {option} out"
        )
    return Path(typed).expanduser()


def _used(config: Path) -> int:
    """When a run was last opened; one that is removed meanwhile was used longest ago."""
    try:
        return config.stat().st_mtime_ns
    except OSError:
        return 0


def open_run(
    folder: Path,
    config: Path | None = None,
    changes: Iterable[str] = (),
    forget: Iterable[str] = (),
    until: int | None = None,
) -> Run:
    """The run in a folder, new or going on; nothing is written before a step calls `Run.keep`.

    It counts as the run used last from now on (`find_run`).

    Args:
        folder: where the run lies, or will.
        config: a TOML file; None goes on with what the folder holds, or the defaults.
        changes: ``"train.epochs=3"`` and the like; they win over the file.
        forget: ``"search.max_params"`` and the like: of what the folder holds, what is to be as by default.
        until: epochs to train in all; a training that has begun goes on with another schedule (`TrainOptions.until`).

    Raises:
        ConfigError: for an unknown key or a wrong value.
        StateError: when an option would change that earlier work in the folder rests on.
    """
    kept = folder / CONFIG
    stored = _anchored(read_toml(kept, RunOptions)) if kept.exists() else None
    if config is not None:
        options = read_toml(config, RunOptions, changes)
    else:
        kept_options = without(to_plain(stored or RunOptions()), forget)
        options = decode(override(kept_options, changes), RunOptions)
    options = _anchored(options)
    if until is not None:
        begun = (folder / LOCKED["train"]).exists()
        train = options.train.until(until) if begun else replace(options.train, epochs=until, restarts=())
        options = replace(options, train=train)
    if stored is not None:
        _check(folder, stored, options)
        with suppress(OSError):  # somebody else's run may be read too
            os.utime(kept)
    return Run(folder, options)


def _anchored(options: RunOptions) -> RunOptions:
    """The options with paths that the next command understands, from whatever folder it is typed."""
    weights, teacher = options.supernet.weights, options.train.teacher
    return replace(
        options,
        data=replace(options.data, source=absolute(options.data.source)),
        supernet=replace(
            options.supernet, model=absolute(options.supernet.model), weights=weights and _there(weights)
        ),
        train=replace(options.train, teacher=_there(teacher) if Path(teacher).exists() else teacher),
    )


def _there(path: str) -> str:
    return os.path.abspath(Path(path).expanduser())  # noqa: PTH100  (resolve follows links)


def _check(folder: Path, stored: RunOptions, asked: RunOptions) -> None:
    for section, evidence in LOCKED.items():
        if not (folder / evidence).exists():
            continue
        before, now = getattr(stored, section), getattr(asked, section)
        longer = section == "train" and asked.train.goes_on_from(stored.train)
        for option in fields(before):
            old, new = getattr(before, option.name), getattr(now, option.name)
            if old != new and option.name not in FREE and not (longer and option.name in LENGTH):
                hint = _longer(folder, asked) if option.name == "epochs" and new > old else ""
                raise StateError(
                    f"{folder} was made with {section}.{option.name} = {old!r}, now {new!r} is asked; "
                    f"{hint}choose another folder with --run, or remove {folder / evidence} to start that step anew"
                )


def _longer(folder: Path, asked: RunOptions) -> str:
    return f"to train longer: {Run(folder, asked).command('train', '--until', str(asked.train.epochs))}; or "
