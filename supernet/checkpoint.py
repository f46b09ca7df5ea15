"""The state of a training in one file: tensors, and a document that says what they belong to.

Both travel in one safetensors file, the document as JSON in its header, so that one rename replaces
both. Nothing is pickled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from supernet.errors import StateError
from supernet.files import write_atomically

CHECKPOINT, GOOD, _NEXT = "training.safetensors", "good.safetensors", ".next.safetensors"
State = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors, and the document that says what they belong to."""


class Checkpoints:
    """The last state of a training and, where that is another, the last one that is known to be good.

    What is good is decided by steps and not by the clock, so that a training that was killed goes back to what it
    would have gone back to.

    Args:
        folder: where they are; None keeps the last good one in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._held: State | None = None
        self._good: Path | None = None
        self._step: int | None = None

    def hold(self, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
        """Keep a good state in memory."""
        copies = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
        self._held = copies, deepcopy(dict(document))

    def write(self, tensors: Mapping[str, Tensor], document: Mapping[str, Any], *, good: bool) -> None:
        """Replace the last state; one that is good replaces the last good one too.

        A good state that is in memory only, or would be replaced by one that is not, is kept beside.

        Raises:
            StateError: when the folder cannot be written to; both states are then what they were.
        """
        try:
            self._write(tensors, document, good)
        except StateError as error:
            if self._step is None:
                raise
            kept = f"the state after step {self._step} is kept, and the training goes on from there when run again"
            raise StateError(f"{error}; {kept}") from error
        self._step = document.get("step")

    def _write(self, tensors: Mapping[str, Tensor], document: Mapping[str, Any], good: bool) -> None:
        assert self.folder is not None
        last, beside = self.folder / CHECKPOINT, self.folder / GOOD
        if self._held is not None and not good:
            self._good, self._held = write_checkpoint(beside, *self._held), None
        written = write_checkpoint(self.folder / _NEXT, tensors, {**document, "good": good})
        if self._good == last and not good:
            self._good = last.replace(beside)
        written.replace(last)
        if good:
            self._good, self._held = last, None
            beside.unlink(missing_ok=True)

    def last(self) -> State | None:
        """The last state; None when there is none.

        Raises:
            StateError: when its file is damaged or no checkpoint.
        """
        if (path := self.last_path) is None:
            return None
        tensors, document = read_checkpoint(path)
        self._good = path if document.get("good", True) else path.with_name(GOOD)
        self._step = document.get("step")
        return tensors, document

    @property
    def last_path(self) -> Path | None:
        """Where the last state is."""
        paths = [self.folder / name for name in (CHECKPOINT, GOOD)] if self.folder else []
        return next((path for path in paths if path.exists()), None)

    def good(self) -> State:
        """The last good state.

        Raises:
            StateError: when its file is damaged or no checkpoint.
        """
        if self._held is not None:
            tensors, document = self._held
            return {name: tensor.clone() for name, tensor in tensors.items()}, deepcopy(document)
        assert self._good is not None
        return read_checkpoint(self._good)


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
    """What an optimiser keeps for each parameter it has moved, and what its groups count.

    Returns:
        Tensors as ``owner:what`` and numbers as ``owner=what``; the owner is the name of a parameter or the index of
        a group.
    """
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    owners: dict[str, Mapping[str, Any]] = {
        names[parameter]: kept for parameter, kept in optimizer.state.items()
    }
    for i, group in enumerate(optimizer.param_groups):
        owners[str(i)] = {
            what: group[what] for what in group.keys() - optimizer.defaults.keys() - _NOT_COUNTED
        }
    found: dict[str, Tensor] = {}
    for owner, kept in owners.items():
        for what, value in kept.items():
            if isinstance(value, Tensor):
                found[f"{owner}:{what}"] = value
            elif isinstance(value, int | float):
                dtype = torch.float64 if isinstance(value, float) else torch.int64
                found[f"{owner}={what}"] = torch.tensor(value, dtype=dtype)
    return found


_NOT_COUNTED = {"params", "initial_lr", "lr_scale"}


def restore_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Give an optimiser back what `optimizer_tensors` took; it forgets everything else."""
    optimizer.state.clear()
    for group in optimizer.param_groups:
        for what in group.keys() - optimizer.defaults.keys() - _NOT_COUNTED:
            del group[what]
    parameters = dict(model.named_parameters())
    on_device = any(group.get("capturable") or group.get("fused") for group in optimizer.param_groups)
    for key, value in tensors.items():
        owner, sign, what = re.split("([:=])", key)
        if owner.isdigit():
            kept, like = optimizer.param_groups[int(owner)], optimizer.param_groups[int(owner)]["params"][0]
        else:
            kept, like = optimizer.state[parameters[owner]], parameters[owner]
        # a count of steps is kept where PyTorch keeps it: on a GPU, reading it would wait for each parameter
        stays = what == "step" and not on_device
        kept[what] = value.item() if sign == "=" else value if stays else _beside(value, like)


def _beside(value: Tensor, like: Tensor) -> Tensor:
    """A tensor on the device of a parameter and in its layout: in another one a norm adds up in another order."""
    there = torch.empty_like(like, dtype=value.dtype).copy_(value) if value.shape == like.shape else value
    return there.to(like.device)
