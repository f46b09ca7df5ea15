"""What was measured: one latency, and all of one device with the error they come with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from hardware.device import Device
from hardware.energy import Energy
from supernet.errors import StateError
from supernet.files import write_atomically
from supernet.space import Genes
from supernet.versions import check_version

FORMAT = 1
SESSION = 0.013
"""How far all of one profile are off those of another of the same device together, as a standard deviation: the root of
the mean square of eight pairs of profiles on a shared machine, off by 0.5 to 2.3 % (`benchmarks.profiler`)."""


@dataclass(frozen=True)
class Measurement:
    """The latency of one architecture on one device.

    Args:
        arch: id of the architecture.
        genes: the architecture itself.
        device: id of the device.
        median_ms: median ratio to the reference network, times the reference's latency on a calm machine: comparable
            between measurements even when the machine was busier during one of them.
        p10_ms: tenth percentile of single calls, by the same ratio.
        p90_ms: ninetieth percentile of single calls, likewise.
        ratio: to the reference network measured next to it.
        ci: half the 95 % confidence interval of the ratio, over the ratio.
        runs: calls that counted.
        rounds: bursts they came in.
        date: when the last of them ended, UTC.
        load_average: processes waiting for a core, mean over the bursts; -1 when unknown.
        method: how it was measured.
        file_bytes: of the file that was run; None for a runtime that reads none.
        peak_mib: memory that it takes, as `Profile.peak_mib` of the reference; None where it was not asked for.
        busy: whether the machine was busier than at its best in most of the bursts that count, for want of calm ones.
    """

    arch: str
    genes: tuple[int, ...]
    device: str
    median_ms: float
    p10_ms: float
    p90_ms: float
    ratio: float
    ci: float
    runs: int
    rounds: int
    date: str
    load_average: float
    method: str = "bursts beside a reference"
    file_bytes: int | None = None
    peak_mib: float | None = None
    busy: bool = False


@dataclass(frozen=True)
class Reference:
    """The network that every measurement was taken beside.

    Args:
        arch: id of the architecture.
        genes: the architecture itself.
        ms: its best-known latency: what the quieter moments agreed on.
    """

    arch: str
    genes: tuple[int, ...]
    ms: float


@dataclass(frozen=True)
class RepeatError:
    """How far a second measurement was from the first: no predictor can be better than this.

    Args:
        mean: mean relative difference.
        largest: largest relative difference.
        archs: how many architectures were measured twice.
    """

    mean: float
    largest: float
    archs: int


def second_ms(measurements: Sequence[Measurement], repeat: RepeatError) -> NDArray[np.float64]:
    """How far from each a second measurement of it lies, 95 times in 100, ``(measurements,)``, in milliseconds.

    By its confidence interval, which a second one has too, or by how far apart those were that were measured twice,
    with networks loaded anew; few of them tell it badly, and it is the wider for that (Student's t). Besides, all of a
    later profile are off together, which nothing inside this one can tell (`SESSION`).

    Args:
        measurements: of one profile, or beside it.
        repeat: what was measured twice in it.
    """
    within = np.sqrt(2) * np.array([m.ci for m in measurements])
    sd = np.sqrt(np.pi / 2) * repeat.mean  # of normal differences, by their mean absolute value
    between = float(student.ppf(0.975, repeat.archs)) * sd
    alone: NDArray[np.float64] = np.maximum(np.where(np.isfinite(within), within, 0.0), between)
    median_ms = np.array([m.median_ms for m in measurements])
    apart: NDArray[np.float64] = np.hypot(alone, 1.96 * SESSION) * median_ms
    return apart


@dataclass(frozen=True)
class Profile:
    """What was measured of one space on one device.

    Args:
        space: fingerprint of the search space.
        device: where.
        inputs: shapes and types of one forward pass of the reference, as `Inputs.to_json` writes them.
        reference: what everything was measured beside.
        measurements: one for each architecture, in the order asked.
        repeat: error of a second measurement.
        windows: how many windows were measured.
        drifts: how often one was measured again because the reference had moved.
        seconds: time spent measuring.
        options: the `ProfileOptions` it was made with.
        failed: why some do not run on the device, by the id of the architecture.
        energy: of a call of the reference; None where nothing counts it, and for a device elsewhere.
        peak_mib: memory of the reference, see `hardware.peak_memory`, or that of the GPU, see `hardware.cuda_runner`;
            None for other runtimes and for a device elsewhere, and where the system does not tell.
    """

    space: str
    device: Device
    inputs: dict[str, Any]
    reference: Reference
    measurements: tuple[Measurement, ...]
    repeat: RepeatError
    windows: int
    drifts: int
    seconds: float
    options: dict[str, Any]
    failed: dict[str, str] = field(default_factory=dict)
    energy: Energy | None = None
    peak_mib: float | None = None

    @property
    def busy(self) -> int:
        """How many networks were measured on a machine that was not calm for long enough."""
        return sum(m.busy for m in self.measurements)

    @property
    def genes(self) -> Genes:
        """The architectures measured, ``(measurements, choices)``."""
        return np.array([m.genes for m in self.measurements], dtype=np.int64)

    @property
    def median_ms(self) -> NDArray[np.float64]:
        """Their latencies, ``(measurements,)``, in milliseconds."""
        return np.array([m.median_ms for m in self.measurements])

    @property
    def examples_per_s(self) -> NDArray[np.float64]:
        """Their throughput, ``(measurements,)``, one forward pass after the other: the batch over the median."""
        return 1e3 * self.device.batch / self.median_ms

    @property
    def noise_ms(self) -> NDArray[np.float64]:
        """How far off each may be, ``(measurements,)``: the standard deviation that its confidence interval tells.

        One that was measured in a single burst has no interval; it is as far off as second measurements were.
        """
        sd = np.array([m.ci for m in self.measurements]) / 1.96
        return np.where(np.isfinite(sd), sd, self.repeat.mean) * self.median_ms

    @property
    def second_ms(self) -> NDArray[np.float64]:
        """How far from each a second measurement of it lies, see `second_ms`, ``(measurements,)``, in milliseconds."""
        return second_ms(self.measurements, self.repeat)

    @property
    def is_quiet(self) -> bool:
        """Whether it was calm, and second measurements as near to the first as the reference stays within a window."""
        return not self.busy and bool(self.repeat.mean <= self.options["drift"])

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values; `from_json` reads it back."""
        return {"format": FORMAT} | asdict(self) | {"device": self.device.to_json()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Profile:
        """The profile that `to_json` wrote.

        Raises:
            StateError: when a newer version wrote it, or a part is missing.
        """
        check_version(document, FORMAT, what="the profile", older="measure again")
        rest = {key: value for key, value in document.items() if key != "format"}
        try:
            return cls(
                **rest
                | {
                    "device": Device.from_json(rest["device"]),
                    "reference": Reference(**_with_genes(rest["reference"])),
                    "measurements": tuple(Measurement(**_with_genes(m)) for m in rest["measurements"]),
                    "repeat": RepeatError(**rest["repeat"]),
                    "energy": Energy(**rest["energy"]) if rest.get("energy") else None,
                }
            )
        except (KeyError, TypeError) as error:
            raise StateError(f"the profile is damaged ({error}); measure again") from error

    def save(self, path: Path) -> Path:
        """Write it as one JSON file.

        Raises:
            StateError: when the place cannot be written to.
        """
        return write_atomically(path, json.dumps(self.to_json(), indent=1))

    @classmethod
    def load(cls, path: Path) -> Profile:
        """Read what `save` wrote.

        Raises:
            StateError: when the file is missing, damaged or of a newer version.
        """
        try:
            document = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise StateError(
                f"no profile can be read from {path}: {error}; measure with `supernet profile`"
            ) from error
        return cls.from_json(document)


def _with_genes(document: Mapping[str, Any]) -> dict[str, Any]:
    return {**document, "genes": tuple(document["genes"])}
