"""The parts of a bound network that a mode treats one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from torch import nn

from supernet.elastic.slicing import MIXTURE, PRESENT


def runs(module: nn.Module) -> bool:
    """Whether a module of a bound network is there, and not left out by its architecture."""
    present = module._buffers.get(PRESENT)
    return present is None or present.shape[0] > 0


def running(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """A module of a bound network and those below it that are there, each once, with their paths.

    What is inside a module that is left out is shared with the whole network and must not be touched.
    """
    seen: set[int] = set()

    def walk(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
        """One module, and those below it."""
        if id(module) in seen or not runs(module):
            return
        seen.add(id(module))
        yield path, module
        for name, child in module.named_children():
            yield from walk(child, f"{path}.{name}" if path else name)

    return walk(module, path)


def is_row(module: nn.Module) -> bool:
    """Whether a module only holds others, one after the other."""
    return isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)


def is_stage(module: nn.Module) -> bool:
    """Whether a module is a row of blocks: of modules made of others, at least half of them of one class."""
    if not is_row(module):
        return False
    kinds = Counter(type(child) for child in module.children() if _is_composite(child))
    return bool(kinds) and 2 * max(kinds.values()) >= len(module._modules)


def pieces(module: nn.Module, path: str = "") -> list[tuple[str, nn.Module]]:
    """The blocks of a module, with their paths; whatever is beside its rows of blocks is a piece of its own.

    A module without rows of blocks inside is one piece, and so is each child of one that has some.
    """
    if not runs(module):
        return []
    children = [
        (f"{path}.{name}" if path else name, child)
        for name, child in module.named_children()
        if child is not None
    ]
    if not any(is_stage(inner) for inner in module.modules()):
        return [(path, module)]
    return [piece for path, child in children for piece in pieces(child, path)]


def planned_paths(network: nn.Module) -> list[str]:
    """The paths of the pieces of a bound network that a plan is made of, for whatever architecture is run by it.

    Candidates of one choice are one piece: another architecture has others of them.
    """
    return list(dict.fromkeys(_with_candidates(network, path) for path, _ in pieces(network)))


def _with_candidates(network: nn.Module, path: str) -> str:
    """The path of the module that a piece is a candidate in, or its own."""
    module, names = network, path.split(".")
    for i, name in enumerate(names):
        if MIXTURE in module._buffers:
            return ".".join(names[:i])
        module = module.get_submodule(name)
    return path


def _is_composite(module: nn.Module) -> bool:
    return not is_row(module) and any(True for _ in module.children())
