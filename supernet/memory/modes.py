"""Execution modes by name, and how a choice of them is installed in a bound network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from torch import nn

from supernet.errors import SupernetError
from supernet.memory.pieces import runs
from supernet.registry import Registry

Mode = Callable[[nn.Module], None]
"""Called with a module of a bound copy of a network; changes how that object, or those inside it, run."""
Execution = str | Mapping[str, str]
"""How a network is run: a name for all of it, or the names of modes by module path; what has none is plain."""

M = TypeVar("M", bound=Mode)

modes: Registry[Mode] = Registry(
    "execution mode",
    modules=tuple(
        f"supernet.memory.{name}"
        for name in (
            *("checkpoint", "fused", "reversible"),
            *("int8", "few_bit", "relu_backward", "shift_only"),
        )
    ),
    group="supernet.modes",
)
"""Execution modes, by name."""


def approximate(mode: M) -> M:
    """Mark a mode whose gradients differ from those of the plain network."""
    mode.approximate = True  # type: ignore[attr-defined]
    return mode


def is_exact(execution: Execution) -> bool:
    """Whether nothing is approximated: every gradient is that of the plain network.

    To the bit, but for one: ``reversible`` rounds where the streams of a stage are floats, for what is undone is then
    not quite what was. With ``fixed_point`` streams it is.
    """
    names = [execution] if isinstance(execution, str) else execution.values()
    return all(name in modes and not getattr(modes[name], "approximate", False) for name in names)


def once_differentiable(mode: M) -> M:
    """Mark a mode whose gradients have no gradient."""
    mode.once_differentiable = True  # type: ignore[attr-defined]
    return mode


def has_second_derivative(execution: Execution) -> bool:
    """Whether a gradient can be differentiated again, exactly."""
    names = [execution] if isinstance(execution, str) else execution.values()
    return is_exact(execution) and not any(hasattr(modes[name], "once_differentiable") for name in names)


@modes.register("plain")
def plain(module: nn.Module) -> None:
    """Keep what autograd keeps."""


def check_modes(network: nn.Module, execution: Mapping[str, str]) -> None:
    """Refuse a choice of modes that names a module or a mode that is not there.

    Args:
        network: whose modules are named.
        execution: mode by module path.

    Raises:
        SupernetError: naming what is asked and the nearest that there is.
    """
    paths = {path for path, _ in network.named_modules(remove_duplicate=False)}
    for path, name in execution.items():
        modes[name]
        if path not in paths:
            near = get_close_matches(path, paths - {""}, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            tops = ", ".join(name for name, _ in network.named_children())
            raise SupernetError(
                f"no module is at {path!r}, whose mode is to be {name}{hint} (there are: {tops})"
            )


def install(network: nn.Module, execution: Mapping[str, str]) -> None:
    """Let modules of a bound network run in modes; those that its architecture leaves out stay as they are.

    Args:
        network: made by `supernet.elastic.skeleton.bind` with modules of its own.
        execution: mode by module path; the outermost first.
    """
    for path, name in sorted(execution.items()):
        if _is_reached(network, path):
            modes[name](network.get_submodule(path))


def _is_reached(network: nn.Module, path: str) -> bool:
    module = network
    for name in filter(None, path.split(".")):
        if not runs(module):
            return False
        module = getattr(module, name)
    return runs(module)
