"""Profile several devices of a run; those on machines of their own side by side."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

from hardware.options import DeviceOptions
from supernet.errors import SupernetError
from zoo.pipeline.profiling import Profiled, profile_device
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.workspace import Workspace


@dataclass(frozen=True)
class ProfiledDevices:
    """What came of profiling several devices.

    Args:
        known: what was measured, in the order in which the devices were named.
        failed: why the others could not be measured, by name.
    """

    known: Sequence[Profiled]
    failed: Mapping[str, SupernetError]


class _Halted(Exception):
    """Somebody wants the whole to stop."""


def profile_devices(
    workspace: Workspace, devices: Sequence[str], progress: Progress = silent
) -> ProfiledDevices:
    """Profile devices that are described; one that fails costs only itself.

    Agents work at the same time; devices at one address, and those that are this machine, one after the other: they
    would disturb each other. Subnets are exported once for all of them.

    Raises:
        ConfigError: for a bad name or description, before anything is measured.
        DeviceError: for a name that nobody gave, likewise.
    """
    run = workspace.run
    used = {name: run.device(name) for name in dict.fromkeys(devices)}
    workspace.read(progress)
    _ = workspace.costs  # made here once, and not in every thread
    halt = Event()

    def in_turn(names: Sequence[str]) -> dict[str, Profiled | SupernetError]:
        """The devices of one machine."""
        return {name: _tried(workspace, name, used[name], progress, halt) for name in names}

    here, *agents = _machines(used)
    with ThreadPoolExecutor(max(len(agents), 1)) as pool:
        jobs = [pool.submit(in_turn, names) for names in agents]
        try:
            found = [job.result() for job in jobs]
        except BaseException:
            halt.set()
            raise
    outcome = {name: result for part in (*found, in_turn(here)) for name, result in part.items()}
    ordered = {name: outcome[name] for name in used}
    failed = {name: why for name, why in ordered.items() if isinstance(why, SupernetError)}
    if not failed:
        shutil.rmtree(run.exports, ignore_errors=True)
    return ProfiledDevices([known for known in ordered.values() if isinstance(known, Profiled)], failed)


def _machines(used: Mapping[str, DeviceOptions]) -> list[list[str]]:
    """The names of the devices on each machine; this machine is the first, also when there are none on it."""
    machines: dict[str, list[str]] = {"": []}
    for name, options in used.items():
        machines.setdefault(options.address.rstrip("/"), []).append(name)
    return list(machines.values())


def _tried(
    workspace: Workspace, name: str, used: DeviceOptions, progress: Progress, halt: Event
) -> Profiled | SupernetError:
    def tell(part: str, done: int, total: int, words: str = "") -> None:
        """On behalf of this device; a thread ends here when the whole is to stop."""
        if halt.is_set():
            raise _Halted
        progress(f"{name}: {part}", done, total, words)

    exports = workspace.run.exports / f"batch-{used.batch}"
    try:
        return profile_device(workspace, tell, device=name, exports=exports)
    except SupernetError as error:
        return error
