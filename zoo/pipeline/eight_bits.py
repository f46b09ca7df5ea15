"""Exported networks in eight bits: with the types that are fastest on the device, each file judged as what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hardware.fastest_types import fastest_types
from hardware.quantise import FileNetwork, QuantiseOptions, quantise
from supernet.errors import ConfigError
from supernet.evaluate import Evaluator, Result
from zoo.pipeline.mixed import EXAMPLES
from zoo.pipeline.profiling import Profiled
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.prove import Proof
from zoo.pipeline.workspace import Workspace
from zoo.store.manifest import hash_file

FILE = "model.int8.onnx"


@dataclass(frozen=True)
class EightBits:
    """A file in eight bits beside the one in float.

    Args:
        name: of the network: ``fastest``, ``knee``, ``best``.
        path: the file.
        sha256: of it.
        size_bytes: of it.
        types: of activations and weights, the fastest here.
        over_float: its latency over that of the float file, by types; timed by turns.
        ms: its latency, from that of the float file.
        test: what the file itself is worth on the test split.
    """

    name: str
    path: Path
    sha256: str
    size_bytes: int
    types: str
    over_float: Mapping[str, float]
    ms: float
    test: Result


def eight_bits(
    workspace: Workspace, known: Profiled, proofs: Sequence[Proof], progress: Progress = silent
) -> list[EightBits]:
    """Put exported networks into eight bits, each with the types that are fastest on the device.

    Args:
        known: of the device they were proven on.
        proofs: see `prove`.

    Raises:
        ConfigError: for a device that is not ONNX Runtime on this machine, where types cannot be measured, or is in
            eight bits itself.
        ExportError: when one cannot be quantised.
        StateError: when the run's folder cannot be written to.
    """
    used = workspace.run.device(known.name)
    if used.address or used.runtime != "onnxruntime":
        where = f"at {used.address}" if used.address else f"the runtime {used.runtime!r}"
        raise ConfigError(
            f"types of eight bits are chosen by timing them in ONNX Runtime on this machine, and the device is "
            f"{where}; leave out --int8"
        )
    if used.precision != "fp32":
        raise ConfigError(
            f"what is exported for this device, of precision {used.precision!r}, is in eight bits as it says; "
            f"leave out --int8"
        )
    options = workspace.run.options
    judge = Evaluator(
        workspace.net, workspace.dataset, "test", calibration_examples=options.train.calibration_examples
    )
    batches = workspace.dataset.calibration_batches(EXAMPLES, EXAMPLES)
    found = []
    for done, proof in enumerate(proofs):
        progress("eight bits", done, len(proofs))
        values = workspace.net.input_values(proof.arch)
        examples = [workspace.dataset.task.inputs(batch, values) for batch in batches]
        ratios = fastest_types(proof.onnx.path, examples, used, options.profile)
        types = next(iter(ratios))
        path = quantise(proof.onnx.path, examples, proof.folder / FILE, QuantiseOptions(types))
        test = judge.of(FileNetwork(path, used.threads), values)
        size, ms = path.stat().st_size, proof.measured.median_ms * ratios[types]
        found.append(EightBits(proof.name, path, hash_file(path), size, types, ratios, ms, test))
    progress("eight bits", len(proofs), len(proofs))
    return found
