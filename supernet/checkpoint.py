"""The state of a training in one file: tensors, and a document that says what they belong to.

Both travel in one safetensors file, the document as JSON in its header, so that one rename replaces
both. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from supernet.errors import StateError
from supernet.files import write_atomically


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> Path:
    """Write both; a reader meets the last checkpoint or this one, whole.

    Args:
        tensors: no two of them sharing memory.
        document: plain JSON values.

    Raises:
        StateError: when the place can not be written to.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return write_atomically(path, save(stored, metadata={"document": json.dumps(document)}))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_checkpoint` wrote.

    Raises:
        StateError: when the file is damaged or no checkpoint.
    """
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, _document(path, file)


def read_document(path: Path) -> dict[str, Any]:
    """The document of a checkpoint alone; no tensor is read.

    Raises:
        StateError: when there is no file, or it is damaged or no checkpoint.
    """
    with _opened(path) as file:
        return _document(path, file)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise StateError(
            f"the checkpoint {path} can not be read: {error}; remove it to start anew"
        ) from error


def _document(path: Path, file: Any) -> dict[str, Any]:
    document = (file.metadata() or {}).get("document")
    if document is None:
        raise StateError(f"{path} is no checkpoint of a training; remove it to start anew")
    found: dict[str, Any] = json.loads(document)
    return found


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin like that, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors an optimiser keeps, as ``parameter name:what``; parameters it never moved have none."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}:{what}": value
        for parameter, kept in optimizer.state.items()
        for what, value in kept.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Give an optimiser back what `optimizer_tensors` took."""
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        name, what = key.rsplit(":", 1)
        parameter = parameters[name]
        optimizer.state[parameter][what] = value.to(parameter.device, memory_format=torch.preserve_format)
