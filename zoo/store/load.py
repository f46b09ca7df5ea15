"""Running what was pulled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from hardware.export import ORT_ERRORS
from supernet.errors import StateError
from zoo.store.manifest import Manifest
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


def load_onnx(pulled: Pulled, *, threads: int = 1) -> OnnxSubnet:
    """The network of a pulled entry, after its file said that it is what the manifest calls it.

    Args:
        pulled: from `zoo.store.pull.pull`.
        threads: of one forward pass.

    Raises:
        StateError: when the entry has no ONNX file, ONNX Runtime cannot read it, or it holds another
            architecture or other weights than the manifest says.
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
    for name, value in wanted.items():
        found = properties.get(name, "nothing")
        if found != value:
            raise StateError(
                f"{manifest.id}: the ONNX file says its {name} is {found}, the manifest says {value}"
            )
