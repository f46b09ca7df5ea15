"""Running what was pulled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
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

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits ``(batch, classes)`` of images ``(batch, channels, height, width)``.

        Raises:
            StateError: when the images do not fit the network.
        """
        try:
            (logits,) = self.session.run(None, {self.session.get_inputs()[0].name: images})
        except ORT_ERRORS as error:
            wanted = self.session.get_inputs()[0].shape
            raise StateError(
                f"{self.manifest.id} takes {wanted}, images of shape {images.shape} were given"
            ) from error
        return np.asarray(logits, dtype=np.float32)


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
