"""An exported network of mixed precision: some of its stages in eight bits, the others in float."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import onnx

from hardware.explain import Place, places
from hardware.node_names import path_in, renamed
from hardware.quantise import QuantiseOptions, quantise
from supernet.elastic.inputs import Inputs
from supernet.files import write_atomically


def stage_of_nodes(
    model: onnx.ModelProto, stages: Sequence[str], paths: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The stage that each node of an exported network is in, by the name of the node.

    A node that is in none (a norm or a pooling between two stages) belongs to the stage before it.

    Args:
        stages: paths in the supernet, in the order in which they run.
        paths: of modules of the supernet, by their paths in the subnet that was exported
            (`hardware.explain.own_paths`); the same when None.
    """
    names = [node.name for node in model.graph.node]
    modules = [path_in(name) if paths is None else renamed(path_in(name), paths) for name in names]
    found = places(modules, [Place(stage, stage) for stage in stages])
    return {name: place.stage for name, place in zip(names, found)}


def quantise_stages(
    file: Path,
    eight: Collection[str],
    stages: Sequence[str],
    examples: Iterable[Inputs],
    path: Path,
    types: str,
    paths: Mapping[str, str] | None = None,
) -> Path:
    """Write an exported network with some of its stages in eight bits; with none, byte for byte as it is.

    Args:
        file: the network in float, as `hardware.export` writes it.
        eight: the stages to be in eight bits.
        stages: all of them, see `stage_of_nodes`; so are ``paths``.
        examples: what the ranges of activations are taken from.
        path: where to; the file appears whole or not at all.
        types: of activations and weights, see `hardware.quantise.QuantiseOptions`.

    Raises:
        ConfigError: for types that there are not, or no example.
        ExportError: when ONNX Runtime cannot quantise the network.
        StateError: when the place cannot be written to.
    """
    if not eight:
        return write_atomically(path, file.read_bytes())
    found = stage_of_nodes(onnx.load(file), stages, paths)
    kept = tuple(name for name, stage in found.items() if stage not in eight)
    return quantise(file, examples, path, QuantiseOptions(types, kept))
