"""Choose and prove: cut subnets out, export them, and hold every promise against a measurement.

Of a chosen architecture: statistics re-estimated, weights copied out, one ONNX file, compared with
PyTorch in ONNX Runtime, that very file timed on the device it was chosen for, and judged on the test split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from safetensors.torch import save as to_safetensors
from torch import nn

from hardware.errors import ExportError
from hardware.export import OnnxFile, Parity, check_onnx, weight_hash
from hardware.measurement import Measurement, Profile
from hardware.profiler import profile
from predictors import Estimate
from supernet.elastic.inputs import output_tensors
from supernet.evaluate import Evaluator, Result
from supernet.files import write_atomically
from supernet.space import Architecture
from zoo.pipeline.profiling import Profiled
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.workspace import Workspace
from zoo.store.manifest import hash_file

ONNX, WEIGHTS = "model.onnx", "model.safetensors"


@dataclass(frozen=True)
class Proof:
    """A chosen subnet and all that was found out about it.

    Args:
        name: why it was chosen: ``fastest``, ``knee``, ``best``.
        arch: which one it is.
        folder: holds ``model.onnx`` and ``model.safetensors``.
        onnx: the exported file.
        weights_sha256: of parameters and buffers.
        parity: the file in ONNX Runtime against PyTorch.
        exact: largest difference between the subnet inside the supernet and the one cut out.
        predicted: latency as the predictor had it, in ms.
        measured: latency of this very file.
        search: what it is worth on the split the search saw.
        test: likewise on the split nothing has seen.
        params: parameters.
        macs: multiply-adds of one example.
    """

    name: str
    arch: Architecture
    folder: Path
    onnx: OnnxFile
    weights_sha256: str
    parity: Parity
    exact: float
    predicted: Estimate
    measured: Measurement
    search: Result
    test: Result
    params: int
    macs: int


@dataclass(frozen=True)
class _Cut:
    name: str
    arch: Architecture
    folder: Path
    subnet: nn.Module
    onnx: OnnxFile


def prove(
    workspace: Workspace, known: Profiled, chosen: Mapping[str, Architecture], progress: Progress = silent
) -> list[Proof]:
    """Cut out, export, check, time and judge each chosen architecture.

    Args:
        known: of the device they were chosen for, and are timed on.
        chosen: by the name it is to have; one architecture may stand under two names.

    Returns:
        A proof for each, in the same order.

    Raises:
        ArchitectureError: for an architecture of another space.
        ExportError: when one cannot be exported or does not run.
        StateError: when the run's folder cannot be written to.
    """
    run, cuts = workspace.run, []
    run.device(known.name)  # a description that is gone is missed now, and not when all is exported
    workspace.read(progress)
    for i, (name, arch) in enumerate(chosen.items()):
        cuts.append(_cut(workspace, run.subnets_for(known.name) / name.replace(" ", "-"), name, arch))
        progress("cut out and export", i + 1, len(chosen))
    files = {cut.arch: cut.onnx.path for cut in cuts}
    measured = time_files(workspace, known, files, "proofs", progress)
    found = {m.arch: m for m in measured.measurements}
    test = Evaluator(
        workspace.net,
        workspace.dataset,
        "test",
        calibration_examples=run.options.train.calibration_examples,
    )
    proofs = [_proof(workspace, known, cut, found[cut.arch.id], test) for cut in cuts]
    run.keep()
    return proofs


def _cut(workspace: Workspace, folder: Path, name: str, arch: Architecture) -> _Cut:
    subnet = workspace.cut_out(arch)
    write_atomically(
        folder / WEIGHTS, to_safetensors({k: v.contiguous() for k, v in subnet.state_dict().items()})
    )
    return _Cut(name, arch, folder, subnet, workspace.write(arch, subnet, folder / ONNX))


def time_files(
    workspace: Workspace, known: Profiled, files: Mapping[Architecture, Path], step: str, progress: Progress
) -> Profile:
    """Time exported files themselves, beside the reference of the profile.

    Args:
        step: what they are timed for: the folder beside the profile that the journal is kept in.

    Raises:
        DeviceError: when the device does not answer, or is another than the profile's.
        ExportError: when one of the files does not run there.
        StateError: when the run's folder cannot be written to.
    """
    run = workspace.run
    # a journal is of certain bytes: other choices, or other weights, get a folder of their own
    hashes = sorted({hash_file(path) for path in files.values()})
    label = sha256("".join(hashes).encode()).hexdigest()[:16]
    timed = profile(
        workspace.net,
        list(files),
        workspace.example,
        run.profile_on(known.name) / step / label,
        options=replace(run.options.profile, seconds=min(run.options.profile.seconds, 5.0 * len(files))),
        device=run.device(known.name),
        files={arch.id: path for arch, path in files.items()},
        free_axes=workspace.dataset.task.free_axes,
        against=known.profile,
        progress=progress,
    )
    for arch, why in timed.failed.items():
        raise ExportError(f"{arch} was exported and does not run on the device: {why}")
    return timed


def _proof(workspace: Workspace, known: Profiled, cut: _Cut, measured: Measurement, test: Evaluator) -> Proof:
    genes = workspace.net.space.matrix([cut.arch])
    task, values = workspace.dataset.task, workspace.net.input_values(cut.arch)
    inputs = task.inputs(workspace.dataset.calibration_batches(64, 64)[0], values)
    inside = inputs.call(workspace.net.subnet(cut.arch, workspace.evaluator.statistics(cut.arch)))
    alone, network = inputs.call(cut.subnet), workspace.as_run(cut.arch, cut.subnet, cut.onnx.path)
    pairs = zip(output_tensors(inside), output_tensors(alone), strict=True)
    return Proof(
        name=cut.name,
        arch=cut.arch,
        folder=cut.folder,
        onnx=cut.onnx,
        weights_sha256=weight_hash(cut.subnet),
        parity=check_onnx(cut.onnx.path, cut.subnet, workspace.example(cut.arch)),
        exact=max((a - b).abs().max().item() for (_, a), (_, b) in pairs),
        predicted=known.estimate(genes),
        measured=measured,
        search=workspace.evaluator.of(network, values),
        test=test.of(network, values),
        params=int(workspace.costs.params(genes)[0]),
        macs=int(workspace.costs.macs(genes)[0]),
    )
