"""A supernet on disk: ``model.safetensors`` and ``plan.json`` in a folder of its own.

The tensors and the document (plan, traced calls, record of the conversion, origin) have to belong
together even when the machine stops between two writes. So the document travels inside the header
of ``model.safetensors``, which is replaced in one step; ``plan.json`` is the same text for people and
for other tools. Nothing is pickled, and loading traces nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from supernet.elastic.inputs import Inputs
from supernet.elastic.layout import AxisLayout
from supernet.elastic.origins import rebuild
from supernet.elastic.plan import Plan
from supernet.elastic.trace import Op
from supernet.errors import StateError, WeightsError
from supernet.files import write_atomically
from supernet.versions import check_version

log = logging.getLogger(__name__)

SCHEMA = 2
WEIGHTS, PLAN = "model.safetensors", "plan.json"


@dataclass(frozen=True)
class Saved:
    """Everything that is stored of a supernet; the fields are the arguments of `Supernet`.

    Args:
        largest: the largest network; of one that was read, in evaluation mode.
        plan: what each architecture uses of it.
        ops: its traced calls.
        example: inputs it was traced with.
        origin: how to make the largest network again.
        conversion: what was found and decided when it became elastic.
    """

    largest: nn.Module
    plan: Plan
    ops: tuple[Op, ...]
    example: Inputs | None
    origin: dict[str, Any] | None
    conversion: dict[str, Any] | None

    def to_document(self) -> dict[str, Any]:
        """All but the tensors, as plain JSON values."""
        return {
            "schema_version": SCHEMA,
            "origin": self.origin,
            "plan": self.plan.to_json(),
            "example": self.example and self.example.to_json(),
            "ops": [op_to_json(op) for op in self.ops],
            "conversion": self.conversion,
        }


def save(saved: Saved, folder: Path) -> Path:
    """Write a supernet; what lies there is the old one or the new one, whole, after a crash.

    Raises:
        StateError: when the place cannot be written to.
    """
    document = json.dumps(saved.to_document(), indent=1)
    tensors = {
        name: tensor.cpu().clone().contiguous() for name, tensor in stored_tensors(saved.largest).items()
    }
    write_atomically(folder / WEIGHTS, to_safetensors(tensors, metadata={"supernet": document}))
    write_atomically(folder / PLAN, document)
    return folder


def load(folder: Path, model: nn.Module | None = None) -> Saved:
    """What `save` wrote.

    Args:
        folder: where it lies.
        model: the plain largest network, with any weights; needed only when the supernet does not
            know how it was made (no maker of `supernet.elastic.origins` knows its origin).

    Raises:
        StateError: when there is no supernet in the folder, the files are damaged or of another version.
        WeightsError: when the largest network is not the one that was saved.
    """
    document, tensors = _read(folder)
    plan = Plan.from_json(document["plan"])
    largest = model if model is not None else rebuild(document["origin"], folder)
    add_transforms(largest, plan)
    load_tensors(largest, tensors)
    return Saved(
        largest.eval(),
        plan,
        ops=tuple(op_from_json(op) for op in document["ops"]),
        example=document["example"] and Inputs.from_json(document["example"]),
        origin=document["origin"],
        conversion=document["conversion"],
    )


def stored_tensors(module: nn.Module) -> dict[str, Tensor]:
    """What has to be stored of a network: parameters and persistent buffers, tied ones once."""
    kept = module.state_dict()
    named = dict(module.named_parameters()) | dict(module.named_buffers())
    return {name: tensor.detach() for name, tensor in named.items() if name in kept}


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into a network, in place.

    Raises:
        WeightsError: naming what is missing, surplus or of another shape; nothing is copied then.
    """
    own = stored_tensors(module)
    missing, surplus = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or surplus:
        raise WeightsError(
            f"the weights are not of this network: missing {_some(missing)}; surplus {_some(surplus)}; "
            f"give the network they were saved from"
        )
    for name, tensor in own.items():
        if tensors[name].shape != tensor.shape:
            raise WeightsError(
                f"weight {name!r} has shape {tuple(tensors[name].shape)}, "
                f"the network has {tuple(tensor.shape)}; was it made with other arguments?"
            )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def add_transforms(largest: nn.Module, plan: Plan) -> None:
    """Give a freshly made network the kernel matrices that the plan speaks of and it lacks."""
    for kernel in plan.kernels.values():
        for size, name in kernel.transforms:
            path, _, matrix = name.rpartition(".")
            owner = largest.get_submodule(path)
            if matrix not in owner._parameters:
                owner.register_parameter(matrix, nn.Parameter(torch.eye(size * size)))


def op_to_json(op: Op) -> list[Any]:
    """A traced call as plain JSON values; `op_from_json` reads it back."""
    return [op.name, op.module, op.inputs, op.tensors, op.shape, op.macs, op.alias, op.counted]


def op_from_json(document: list[Any]) -> Op:
    """The call that `op_to_json` wrote."""
    name, module, inputs, tensors, shape, macs, alias, counted = document
    products = tuple(tuple(map(AxisLayout, product)) for product in macs)
    return Op(
        name, module, tuple(inputs), tuple(tensors), tuple(map(AxisLayout, shape)), products, alias, counted
    )


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    path = folder / WEIGHTS
    if not path.is_file():
        raise StateError(
            f"there is no supernet in {folder}: {WEIGHTS} is missing; supernet.save(folder) writes one"
        )
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("supernet")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise StateError(f"{path} is damaged ({error}); save the supernet again") from error
    if text is None:
        raise StateError(
            f"{path} holds weights but no supernet; Supernet.load reads what supernet.save wrote"
        )
    document: dict[str, Any] = json.loads(text)
    check_version(
        document,
        SCHEMA,
        key="schema_version",
        what=f"the supernet {path}",
        older="open it with supernet 0.1, or convert the network anew with this version (the weights are plain "
        "tensors under their own names)",
    )
    beside = folder / PLAN
    if not beside.is_file() or beside.read_text(encoding="utf-8") != text:
        log.warning("%s is not what %s was saved with; the plan inside the weights is used", beside, path)
    return document, tensors


def _some(names: list[str]) -> str:
    return (", ".join(map(repr, names[:5])) or "none") + (
        f" and {len(names) - 5} more" if len(names) > 5 else ""
    )
