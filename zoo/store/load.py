"""Running what was pulled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from hardware.onnx_session import ORT_ERRORS
from supernet.errors import StateError
from zoo.store.manifest import MANIFEST, Manifest, describe_file, parse
from zoo.store.pull import Pulled


@dataclass(frozen=True)
class OnnxSubnet:
    """A pulled network in ONNX Runtime.

    Args:
        manifest: what it says about itself.
        session: the loaded file.
    """

    manifest: Manifest
    session: Any

    def __call__(self, *inputs: NDArray[Any], **named: NDArray[Any]) -> Any:
        """What the network answers: an array, or a dictionary of them by name when there are several.

        Args:
            *inputs: its inputs in the order of the file, e.g. images ``(batch, channels, height, width)``.
            **named: inputs by name instead.

        Raises:
            StateError: when they do not fit the network.
        """
        wanted = {entry.name: f"{entry.type}{entry.shape}" for entry in self.session.get_inputs()}
        given = dict(zip(wanted, inputs)) | named
        try:
            answers = self.session.run(None, given)
        except (*ORT_ERRORS, ValueError) as error:
            shown = {name: f"{array.dtype}{list(array.shape)}" for name, array in given.items()}
            raise StateError(f"{self.manifest.id} takes {wanted}, {shown} were given") from error
        names = [entry.name for entry in self.session.get_outputs()]
        return answers[0] if len(names) == 1 else dict(zip(names, answers))


def open_pulled(folder: Path) -> Pulled:
    """An entry that was pulled into a folder, every file checked again.

    Raises:
        StateError: when the folder holds no entry, or a file is missing or not what the manifest says.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise StateError(
            f"{folder} holds no {MANIFEST}; give a folder that `supernet zoo pull --into` filled, or an id"
        )
    manifest = parse(path.read_bytes(), str(path))
    for file in manifest.files:
        found = describe_file(folder / file.path, file.path)
        if found != file:
            raise StateError(
                f"{folder / file.path} has the sha256 {found.sha256}, the manifest says {file.sha256}; "
                "pull the entry anew"
            )
    return Pulled(manifest, folder)


def load_onnx(pulled: Pulled, *, threads: int = 1) -> OnnxSubnet:
    """The network of a pulled entry, after its file said that it is what the manifest calls it.

    Args:
        pulled: from `zoo.store.pull.pull`.
        threads: of one forward pass.

    Raises:
        StateError: when the entry has no ONNX file, ONNX Runtime cannot read it, or it names another
            architecture, other weights, inputs or classes than the manifest.
    """
    path = pulled.path(".onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        raise StateError(f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: {error}") from error
    _compare(pulled.manifest, session.get_modelmeta().custom_metadata_map)
    return OnnxSubnet(pulled.manifest, session)


def _compare(manifest: Manifest, properties: dict[str, str]) -> None:
    wanted = {
        "architecture": json.dumps(list(manifest.architecture.genes)),
        "weights_sha256": manifest.weights_sha256,
    }
    told = {
        "preprocess": json.dumps(manifest.dataset.preprocess, sort_keys=True),
        "classes": json.dumps(manifest.dataset.classes),
    }
    for name, value in (wanted | {name: value for name, value in told.items() if name in properties}).items():
        found = properties.get(name, "nothing")
        if found != value:
            raise StateError(
                f"{manifest.id}: the ONNX file says its {name} is {found}, the manifest says {value}"
            )
