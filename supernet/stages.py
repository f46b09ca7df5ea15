"""An architecture stage by stage: how many blocks, how wide, what each costs; for people and for tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from torch import nn

from supernet.elastic.supernet import Supernet
from supernet.graph import graph
from supernet.space import Architecture

Call = dict[str, Any]
"""A node of `supernet.graph.graph`."""


@dataclass(frozen=True)
class Block:
    """One block of a stage.

    Args:
        path: of its module.
        kernels: sides of its convolutions, those of one entry left out; each once.
        width: entries of its widest result, per position.
    """

    path: str
    kernels: tuple[int, ...]
    width: int

    def __str__(self) -> str:
        sides = ", ".join(f"{side}x{side}" for side in self.kernels)
        return f"{self.width} ({sides})" if sides else str(self.width)


@dataclass(frozen=True)
class Stage:
    """A part of a network whose blocks follow each other.

    Args:
        path: of its module; "" for what the network does itself.
        blocks: those that are there; none when the whole stage is left out.
        output: shape of its last result, for one example.
        params: entries of its parameters.
        macs: its multiply-adds, for one example.
    """

    path: str
    blocks: tuple[Block, ...]
    output: tuple[int, ...]
    params: int
    macs: int


def stages(supernet: Supernet, arch: Architecture) -> list[Stage]:
    """The stages of one architecture, in the order in which they run.

    A stage is a row of blocks, such as an ``nn.Sequential`` of them, or else a child of the network. What
    multiplies nothing (a norm, a pooling) belongs to the stage before it.

    Raises:
        ArchitectureError: when ``arch`` is of another space.
        ConversionError: when no shape of the inputs is known.
    """
    batch, network = supernet.costs().batch, supernet.largest
    parts: dict[str, list[Call]] = {}
    for _, call in sorted(graph(supernet, arch).nodes(data=True)):
        parts.setdefault(_stage_of(network, call["module"]), []).append(call)
    seen: set[str] = set()
    found: list[Stage] = []
    for path, calls in parts.items():
        weights = {
            name: shape for call in calls for name, shape in call["weights"].items() if name not in seen
        }
        seen |= weights.keys()
        stage = Stage(
            path,
            tuple(_blocks(network, path, calls)),
            tuple(calls[-1]["shape"][1:]),
            sum(map(prod, weights.values())),
            sum(call["macs"] for call in calls) // batch,
        )
        if found and not stage.macs:
            before = found.pop()
            stage = replace(before, output=stage.output, params=before.params + stage.params)
        found.append(stage)
    return found


def stage_paths(network: nn.Module) -> list[str]:
    """The paths of the stages of a network, from its modules alone, in the order in which it holds them."""
    leaves = (path for path, module in network.named_modules() if path and not any(module.children()))
    return list(dict.fromkeys(_stage_of(network, path) for path in leaves))


def choices_by_stage(supernet: Supernet) -> dict[tuple[str, str], list[str]]:
    """The names of the choices, by the stage they are in and the last word of their name, stage after stage."""
    order = {path: place for place, path in enumerate(stage_paths(supernet.largest))}
    paths = sorted(order, key=len, reverse=True)
    found: dict[tuple[str, str], list[str]] = {}
    for choice in supernet.space.choices:
        if len(choice.values) > 1:
            stage = next((p for p in paths if f"{choice.name}.".startswith(f"{p}.")), "the network")
            found.setdefault((stage, choice.name.rpartition(".")[2]), []).append(choice.name)
    return dict(sorted(found.items(), key=lambda group: order.get(group[0][0], -1)))


def _is_row(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)


def _stage_of(network: nn.Module, path: str) -> str:
    """The stage that a module belongs to: the innermost row of blocks it is in, else a child of the network."""
    names = path.split(".") if path else []
    module, depth = network, 0
    for name in names[:-1]:
        module = getattr(module, name)
        if not _is_row(module):
            break
        depth += 1
    return ".".join(names[: max(depth, 1)])


def _blocks(network: nn.Module, stage: str, calls: list[Call]) -> Iterator[Block]:
    """The blocks of a row; anything else is one block."""
    depth = len(stage.split(".")) + _is_row(network.get_submodule(stage))
    inside: dict[str, list[Call]] = {}
    for call in calls:
        inside.setdefault(".".join(call["module"].split(".")[:depth]), []).append(call)
    for path, block in inside.items():
        shapes = [shape for call in block for shape in call["weights"].values() if len(shape) == 4]
        kernels = tuple(dict.fromkeys(shape[-1] for shape in shapes if shape[-1] > 1))
        yield Block(path, kernels, max((_width(call["shape"]) for call in block), default=0))


def _width(shape: tuple[int, ...]) -> int:
    """Channels of maps, features of tokens."""
    return shape[1] if len(shape) == 4 else shape[-1] if shape else 0
