"""What a latency belongs to: the chip and everything about how it was used."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardware.host import Host
from hardware.options import DeviceOptions

if TYPE_CHECKING:
    from hardware.runners import Runtime

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


@dataclass(frozen=True)
class Device:
    """The identity of a measurement: two latencies compare only when their devices have one `id`.

    Args:
        name: for people; not part of the identity.
        chip: the processor, or the GPU, as it calls itself.
        system: operating system and instruction set: ``"Linux x86_64"``.
        runtime: what runs the network.
        version: of the runtime.
        provider: the part of the runtime that did it, e.g. an execution provider.
        optimisation: level of graph optimisation; it alone can change a latency threefold.
        threads: of one forward pass.
        batch: images in one forward pass.
        precision: of weights and activations.
        pinned: cores the measuring thread was kept on; 0 when it was free to move.
        governor: what sets the clock, where the system tells.
    """

    name: str = field(compare=False)
    chip: str
    system: str
    runtime: str
    version: str
    provider: str
    optimisation: str
    threads: int
    batch: int
    precision: str
    pinned: int
    governor: str

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits: equal for equal identities, on every machine."""
        identity = {key: value for key, value in asdict(self).items() if key != "name"}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, and the id; `from_json` reads them back."""
        return asdict(self) | {"id": self.id}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Device:
        """The device that `to_json` wrote."""
        return cls(**{key: value for key, value in document.items() if key != "id"})


def host(options: DeviceOptions) -> Host:
    """This machine, as an agent on it tells others."""
    import onnxruntime

    from hardware.onnx_session import PROVIDER

    return Host(
        chip(), _system(), onnxruntime.__version__, PROVIDER, len(_cores(options)), _governor()
    )  # fmt: skip


def local_device(options: DeviceOptions | None = None, runtime: Runtime | None = None) -> Device:
    """The device that the options mean: this machine, or the one at their address, used as they ask.

    Args:
        runtime: that of the options, where it was made already.

    Raises:
        SupernetError: for a runtime that is not registered.
        DeviceError: for an option that the runtime does not take, or an agent that does not answer.
    """
    from hardware.runners import runtime_of  # here, as an agent has no PyTorch

    options = options or DeviceOptions()
    runtime = runtime or runtime_of(options)
    there: Host | None = getattr(runtime, "host", None)
    found: str = there.chip if there else getattr(runtime, "chip", "") or chip()
    return Device(
        name=options.name or found,
        chip=found,
        system=there.system if there else _system(),
        runtime=options.runtime,
        version=runtime.version,
        provider=runtime.provider,
        optimisation=runtime.optimisation,
        threads=options.threads,
        batch=options.batch,
        precision=runtime.precision,
        pinned=there.pinned if there else len(_cores(options)),
        governor=there.governor if there else _governor(),
    )


def chip() -> str:
    """The processor's own name for itself, or the best the system gives."""
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith(("model name", "Model")) and ":" in line:
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine() or "unknown"


def load_average() -> float:
    """Processes that waited for a core over the last minute; -1 where the system does not tell."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return -1.0


@contextmanager
def pinned(options: DeviceOptions) -> Iterator[None]:
    """Keep this thread, and those it starts, on its own cores; afterwards it may go where it could before."""
    cores = _cores(options)
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cores(options: DeviceOptions) -> set[int]:
    """The cores to use: the last ones this process may have, as the first serve most interrupts."""
    if not options.pin or not hasattr(os, "sched_setaffinity"):
        return set()
    return set(sorted(os.sched_getaffinity(0))[-options.threads :])


def _system() -> str:
    return f"{platform.system()} {platform.machine()}"


def _governor() -> str:
    return _read(_GOVERNOR) or "unknown"


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""
