"""Whether a device is there, and quiet enough to be measured: a tiny network, timed for a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import nn

from hardware.bursts import no_garbage_collection, warm_up
from hardware.device import Device, local_device, pinned
from hardware.energy import Energy, counters, energy_of
from hardware.export import export_onnx
from hardware.journal import Burst
from hardware.options import DeviceOptions, ProfileOptions
from hardware.remote import RemoteRuntime
from hardware.runners import Runtime, runtime_of
from supernet.elastic.inputs import Inputs

BURSTS = 21
"""Of the tiny network; a profile has some hundred."""


@dataclass(frozen=True)
class Checkup:
    """What was seen of a device within a moment.

    Args:
        device: what it is.
        median_ms: of a tiny network.
        noise: how far one burst was from the one before, as a share: the median.
        drift: the share beyond which a profile measures again (`ProfileOptions.drift`).
        energy: of a call of the tiny network; None where nothing counts it, and for an agent.
    """

    device: Device
    median_ms: float
    noise: float
    drift: float
    energy: Energy | None = None

    @property
    def is_quiet(self) -> bool:
        """Whether it is fit to be measured: a burst is usually what the one before was."""
        return self.noise <= self.drift


def reach(options: DeviceOptions) -> Device:
    """The device, if it is there now; an agent is asked once, and not waited for.

    Raises:
        DeviceError: when no agent answers, it does not know the token, or speaks another protocol.
        SupernetError: for a runtime that is not registered, or an option it does not take.
    """
    return local_device(options, _impatient(options))


def check_up(options: DeviceOptions) -> Checkup:
    """Reach a device, and time a tiny network there.

    Raises:
        SupernetError: see `reach`.
        ExportError: when the network does not run there.
    """
    runtime = _impatient(options)
    device = local_device(options, runtime)
    protocol = ProfileOptions()
    net, inputs = _tiny(), Inputs.of(torch.zeros(options.batch, 3, 32, 32))
    with TemporaryDirectory() as folder, pinned(options), no_garbage_collection():
        file = export_onnx(net, inputs, Path(folder) / "tiny.onnx").path if runtime.reads_onnx else None
        runner = runtime.load(net, file, inputs)
        warm_up(runner, protocol)
        bursts = [Burst.of(runner.burst(protocol.burst)[protocol.drop :]) for _ in range(BURSTS)]
        energy = None if options.address else energy_of(runner.burst, counters())
    return Checkup(device, median(burst.p50 for burst in bursts), noise(bursts), protocol.drift, energy)


def noise(bursts: Sequence[Burst]) -> float:
    """How far a burst is from the one before, as a share: the median over all but the first."""
    return median(abs(after.p10 / before.p10 - 1) for before, after in pairwise(bursts))


def _impatient(options: DeviceOptions) -> Runtime:
    return RemoteRuntime(options, patient=False) if options.address else runtime_of(options)


def _tiny() -> nn.Module:
    """A network of some two million multiply-adds."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 1, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    ).eval()  # fmt: skip
