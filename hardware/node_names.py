"""Nodes of an exported file, named after the modules they were traced in: ``blocks.1.0.conv/Conv_7``."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Iterable, Mapping

import onnx_ir

_SCOPES = "pkg.torch.onnx.name_scopes"


def scopes(node: onnx_ir.Node) -> list[str]:
    """Paths of the modules that a node was traced in, and its own name last."""
    found: list[str] = literal_eval(node.metadata_props.get(_SCOPES, "[]"))
    return found


def module_of(node: onnx_ir.Node) -> str:
    """Path of the innermost module that a node was traced in; empty for the network itself."""
    return next((path for path in reversed(scopes(node)[:-1]) if path), "")


def name_nodes(model: onnx_ir.Model, paths: Mapping[str, str] | None = None) -> None:
    """Name every node of a graph after its module, its operator and its place.

    Args:
        paths: what modules are to be called where that is not as they were traced, see `module_paths`.
    """
    for i, node in enumerate(model.graph):
        path = module_of(node)
        node.name = f"{path if paths is None else renamed(path, paths)}/{node.op_type}_{i}"


def path_in(name: str) -> str:
    """The module in the name of a node that `name_nodes` gave."""
    return name.rpartition("/")[0]


def module_paths(tensors: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What modules are called in one network, by what they are called in another that names the same tensors.

    Args:
        tensors: pairs of names of one tensor, as parts of paths that are equally deep.
    """
    found = {"": ""}
    for one, other in ((one.split("."), other.split(".")) for one, other in tensors):
        found |= {".".join(one[:i]): ".".join(other[:i]) for i in range(1, len(one))}
    return found


def renamed(path: str, paths: Mapping[str, str]) -> str:
    """What a module is called elsewhere; one without weights, by the nearest around it."""
    around = path
    while around not in paths:
        around = around.rpartition(".")[0]
    return paths[around] + path[len(around) :]
