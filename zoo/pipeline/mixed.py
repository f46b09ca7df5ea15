"""What the steps of a run work with where the precision of every stage is chosen as well.

A device whose ``precision`` is ``mixed`` runs each stage in float or in eight bits, as the architecture says. The
supernet is the run's own with a choice more for each stage (`supernet.precision`). A network with stages in eight bits
is its file: that is what is timed, and what is judged. One in float is evaluated as on any other device.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import onnxruntime
from torch import nn

from hardware.explain import own_paths
from hardware.export import weight_hash
from hardware.fastest_types import fastest_types
from hardware.file_size import FileSizes
from hardware.measurement import Profile
from hardware.mixed import quantise_stages
from hardware.options import MIXED, DeviceOptions
from hardware.pool import ExportJob
from hardware.quantise import FileNetwork
from hardware.subnet_files import export_subnet
from supernet.config import read_toml, to_toml
from supernet.elastic.inputs import Inputs, output_tensors
from supernet.errors import ConfigError, StateError, SupernetError
from supernet.evaluate import Result
from supernet.files import write_atomically
from supernet.precision import Precision
from supernet.space import Architecture
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.run import PROFILE, Run
from zoo.pipeline.workspace import Workspace

EXAMPLES = 64
"""Training examples that the ranges of activations are taken from."""
TYPES = "types.toml"
"""Beside the profiles: `Types`, as they were measured once for the run."""
SIZES = "sizes.json"
"""Likewise: genes and bytes of the files of the first profile."""


@dataclass(frozen=True)
class Types:
    """The types of eight bits of a run.

    Args:
        types: of activations and weights, the fastest here.
        over_float: latency of the largest network in eight bits over that in float, by types.
    """

    types: str
    over_float: dict[str, float]


@dataclass(frozen=True)
class MixedWorkspace(Workspace):
    """A workspace whose architectures say the precision of every stage.

    Args:
        precision: the supernet with its choices of precision; ``net`` is the same.
    """

    precision: Precision = field(kw_only=True)
    prefix = "mixed-"

    @cached_property
    def types(self) -> str:
        """Types of activations and weights, see `hardware.quantise.QuantiseOptions`.

        Raises:
            StateError: before a device of mixed precision was profiled.
        """
        return read_toml(self._found(TYPES), Types).types

    def _found(self, name: str) -> Path:
        """What the first profile left beside the profiles."""
        path = self.run.profile / name
        if not path.exists():
            raise StateError(
                f"{self.run.folder} holds no profile of a device of mixed precision; run this first, with its "
                f"--device: {self.run.command('profile')}"
            )
        return path

    @property
    def judged_with(self) -> dict[str, str]:
        """See `Workspace.judged_with`: how files come to be, and who runs them."""
        made = f"{self.types}, ranges of {EXAMPLES} examples, by onnxruntime {onnxruntime.__version__}"
        return {"eight bits": made}

    @cached_property
    def judged(self) -> Callable[[Architecture], Result]:
        """See `Workspace.judged`; the file itself, where a stage is in eight bits."""
        return cache(self._judge)

    def _judge(self, arch: Architecture) -> Result:
        if not self.precision.stages_in_eight(arch):
            return self.evaluator(arch)
        subnet = self.cut_out(arch)
        with tempfile.TemporaryDirectory() as folder:
            file = self.files({arch: subnet}, Path(folder))[arch]
            return self.evaluator.of(self.as_run(arch, subnet, file), self.net.input_values(arch))

    def files(
        self, subnets: Mapping[Architecture, nn.Module], folder: Path, progress: Progress = silent
    ) -> dict[Architecture, Path]:
        """See `Workspace.files`: each with its stages in eight bits."""
        ready = {
            arch: folder / f"{arch.id}-{weight_hash(subnet)[:12]}-{self.types}.onnx"
            for arch, subnet in subnets.items()
        }
        missing = {arch: subnet for arch, subnet in subnets.items() if not ready[arch].exists()}
        for done, (arch, subnet) in enumerate(missing.items()):
            progress("export", done, len(missing))
            draft = ready[arch].with_suffix(".draft")
            self.write(arch, subnet, draft)
            draft.replace(ready[arch])
        progress("export", len(missing), len(missing))
        return ready

    def finish(self, arch: Architecture, file: Path) -> None:
        """See `Workspace.finish`: stages in eight bits, with ranges from training examples."""
        eight = self.precision.stages_in_eight(arch)
        if eight:
            paths = own_paths(self.net, arch)
            quantise_stages(file, eight, self.precision.stages, self._examples(arch), file, self.types, paths)

    def _examples(self, arch: Architecture) -> list[Inputs]:
        values = self.net.input_values(arch)
        batches = self.dataset.calibration_batches(EXAMPLES, EXAMPLES)
        return [self.dataset.task.inputs(batch, values) for batch in batches]

    def to_be_timed(
        self, archs: Sequence[Architecture], device: DeviceOptions, folder: Path, progress: Progress = silent
    ) -> dict[Architecture, Path]:
        """The files of networks that are measured for a profile, and of the largest one, statistics as they are.

        The first call of a run measures which types of eight bits are fastest.

        Raises:
            ExportError: when one cannot be exported, or put into eight bits.
            StateError: when the folder cannot be written to.
        """
        self._decide(device, folder)
        subnets = {
            arch: self.net.extract(arch).eval() for arch in dict.fromkeys([self.net.space.largest(), *archs])
        }
        made = self.files(subnets, folder, progress)
        if not (self.run.profile / SIZES).exists():
            rows = [(arch.genes, path.stat().st_size) for arch, path in made.items()]
            write_atomically(self.run.profile / SIZES, json.dumps(rows))
        return made

    @cached_property
    def sizes(self) -> FileSizes:
        """How large files are, as those of the first profile tell.

        Raises:
            StateError: before a device of mixed precision was profiled.
        """
        genes, sizes = zip(*json.loads(self._found(SIZES).read_text()))
        return FileSizes(self.precision, np.array(genes, dtype=np.int64), sizes)

    def _decide(self, device: DeviceOptions, folder: Path) -> None:
        path, largest = self.run.profile / TYPES, self.net.space.largest()
        if path.exists():
            return
        subnet, example = self.net.extract(largest).eval(), self.example(largest)
        job = ExportJob(subnet, example, folder / "largest.onnx", self.dataset.task.free_axes)
        whole = export_subnet(self.net, largest, job, self.example).path
        ratios = fastest_types(whole, self._examples(largest), device, self.run.options.profile, keep=())
        whole.unlink()
        write_atomically(path, to_toml(Types(next(iter(ratios)), ratios)))

    def as_run(self, arch: Architecture, subnet: nn.Module, file: Path) -> nn.Module:
        """See `Workspace.as_run`: the file, where a stage is in eight bits."""
        if not self.precision.stages_in_eight(arch):
            return subnet
        return FileNetwork(file, self.run.options.train.threads).eval()


def on(workspace: Workspace, devices: Sequence[str]) -> Workspace:
    """A workspace as some devices need it: with a precision for each stage where theirs is mixed.

    Args:
        workspace: of the run.
        devices: by their names in the run; empty for its own.

    Raises:
        ConfigError: when some are of mixed precision and others are not: their networks differ. Or as `mixed` does.
        StateError: when the profile of one is damaged.
    """
    found = [name for name in devices if _is_mixed(workspace.run, name)]
    if found and len(found) < len(devices):
        other = next(name for name in devices if name not in found)
        raise ConfigError(
            f"the precision of {found[0] or 'this device'!r} is mixed and that of {other or 'this device'!r} is "
            f"not, so they have no networks in common; name them in commands of their own"
        )
    return mixed(workspace) if found and not isinstance(workspace, MixedWorkspace) else workspace


def _is_mixed(run: Run, device: str) -> bool:
    """As it was measured, also where nobody describes it any more; a step that needs a description misses it."""
    path = run.profile_on(device) / PROFILE
    if path.exists():
        return Profile.load(path).device.precision == MIXED
    with suppress(SupernetError):
        return run.device(device).precision == MIXED
    return False


def mixed(plain: Workspace) -> MixedWorkspace:
    """A workspace with a precision for each stage.

    Raises:
        ConfigError: when files of its networks cannot stand in for them: several outputs, or inputs by name.
    """
    net = plain.net
    example = plain.example(net.space.largest())
    outputs = list(output_tensors(example.call(net.subnet(net.space.largest()))))
    if example.kwargs or len(outputs) != 1:
        raise ConfigError(
            f"a network of mixed precision is judged as a file of one output, with inputs by place; this one has "
            f"{len(outputs)} outputs and the named inputs {sorted(example.kwargs)}; profile a device of precision "
            f"fp32"
        )
    precision = Precision.of(net)
    return MixedWorkspace(plain.run, precision.net, plain._known, precision=precision)
