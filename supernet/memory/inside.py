"""A module of a bound network that runs inside a context, and functions of PyTorch that are others in there.

Its class is changed rather than its ``forward`` set: an attribute that leads back to its module would keep the slices
of a bound network alive until the garbage collector comes by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

Surroundings = Callable[[nn.Module], AbstractContextManager[Any]]
"""From a module, as it is about to run, to what it runs inside of."""
Calls = Mapping[Callable[..., Any], Callable[..., Any]]
"""Functions of PyTorch, and what is called in their place."""


def run_inside(module: nn.Module, surroundings: Surroundings) -> None:
    """Let a module of a bound network run inside a context from now on.

    Args:
        module: its class changes, or its ``forward`` where it has one of its own.
        surroundings: makes the context of every call; a function that lives as long as the program.
    """
    own = module.__dict__.get("forward")
    if own is None:
        module.__class__ = _inside(type(module), surroundings)  # type: ignore[arg-type]
        return

    def forward(*args: Any, **kwargs: Any) -> Any:
        """What the module answers in there."""
        with surroundings(module):
            return own(*args, **kwargs)

    module.__dict__["forward"] = forward


@cache
def _inside(kind: type[nn.Module], surroundings: Surroundings) -> type[nn.Module]:
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """What the module answers in there."""
        with surroundings(self):
            return kind.forward(self, *args, **kwargs)

    return type(f"Inside{kind.__name__}", (kind,), {"forward": forward, "__module__": kind.__module__})


class Replaced(TorchFunctionMode):
    """Meanwhile other functions are called in the place of some, whoever calls them: modules, or their code.

    Args:
        calls: likewise; what they call in turn is what it always was.
    """

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """What a call of PyTorch answers."""
        return self.calls.get(func, func)(*args, **(kwargs or {}))
