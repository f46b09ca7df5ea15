"""How a tensor is computed again: the tensors it comes from, and the cheap calls in between.

While a network runs, every call of `supernet.memory.cheap` leaves a recipe for what it answers. What autograd wants to
keep for the backward pass is then replaced by its recipe, where everything that the recipe starts from is kept already,
or takes less memory. A recipe names tensors by themselves and by their version, never by where they lie in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from weakref import ref

import torch
from torch import Tensor

SMALL = 4096
"""Bytes below which a tensor is kept as it is: a recipe would take as much."""
LONGEST = 8
"""Sums in a row that are computed again at most: each needs the one before."""


class Source:
    """A tensor that recipes start from: watched, and held once it is kept."""

    __slots__ = ("__weakref__", "_tensor", "kept", "version")
    depth = 0

    def __init__(self, tensor: Tensor, keep: bool = False) -> None:
        self._tensor = ref(tensor)
        self.version = tensor._version
        self.kept: Tensor | None = None
        if keep:
            self.keep(tensor)

    def keep(self, tensor: Tensor) -> None:
        """Hold the tensor, without the graph it came from, which would then hold itself."""
        self.kept = tensor if tensor.grad_fn is None else tensor.detach()

    @property
    def watched(self) -> Tensor | None:
        """The tensor, while it is there and has not been written to."""
        tensor = self._tensor()
        return tensor if tensor is not None and tensor._version == self.version else None

    def value(self, again: bool = False) -> Tensor:
        """The tensor that is kept.

        Raises:
            RuntimeError: when it was written to since.
        """
        assert self.kept is not None
        if self.kept._version != self.version:
            raise RuntimeError(
                f"a tensor of shape {tuple(self.kept.shape)} that the backward pass needs was modified by an inplace "
                f"operation: it is at version {self.kept._version}, expected {self.version}"
            )
        return self.kept

    use = value


class Recipe:
    """A tensor that is computed again when it is needed, and held while it is needed once more.

    Args:
        call: computes it.
        args: of the call; a recipe, a source, a tuple of such, or anything else as it is.
        kwargs: likewise.
        cast: of autocast, when it was first computed.
        sums: whether the call only adds: its own backward pass then needs nothing of what it added.
    """

    __slots__ = ("again", "args", "call", "cast", "depth", "held", "is_ready", "kwargs", "uses")

    def __init__(
        self, call: Callable[..., Tensor], args: Sequence[Any], kwargs: dict[str, Any], cast: Cast, sums: bool
    ) -> None:
        self.call, self.args, self.kwargs, self.cast = call, args, kwargs, cast
        self.depth = sums + max((node.depth for node in self.nodes), default=0)
        self.again = False
        self.is_ready = False
        self.uses = 0
        self.held: Tensor | None = None

    @property
    def nodes(self) -> list[Recipe | Source]:
        """What the call takes."""
        flat = [
            entry
            for arg in (*self.args, *self.kwargs.values())
            for entry in (arg if isinstance(arg, tuple) else (arg,))
        ]
        return [entry for entry in flat if isinstance(entry, Recipe | Source)]

    def ready(self, size: int) -> bool:
        """Whether keeping the recipe takes less than the tensor; what it starts from is then kept.

        Args:
            size: of the tensor in bytes.
        """
        if self.is_ready:
            return True
        if self.depth > LONGEST:
            return False
        missing: dict[int, tuple[Source, Tensor]] = {}
        if not self._find(missing) or sum(size_of(tensor) for _, tensor in missing.values()) >= size:
            return False
        for source, tensor in missing.values():
            source.keep(tensor)
        self._settle()
        return True

    def _find(self, missing: dict[int, tuple[Source, Tensor]]) -> bool:
        """Note what is not kept yet; whether all of it is still there."""
        for node in self.nodes:
            if isinstance(node, Recipe):
                if not node.is_ready and not node._find(missing):
                    return False
            elif node.kept is None:
                if (tensor := node.watched) is None:
                    return False
                missing[id(node)] = node, tensor
        return True

    def _settle(self) -> None:
        self.is_ready = True
        for node in self.nodes:
            if isinstance(node, Recipe) and not node.is_ready:
                node._settle()

    def use(self) -> Tensor:
        """The tensor, for one of those that wait for it."""
        self.uses -= 1
        tensor = self.held if self.held is not None else self._computed()
        self.held = tensor if self.uses > 0 else None
        return tensor

    def value(self, again: bool = False) -> Tensor:
        """The tensor, for another recipe.

        Args:
            again: whether it is needed right afterwards too, and held if somebody waits for it.
        """
        tensor = self.held if self.held is not None else self._computed()
        if again and self.uses > 0:
            self.held = tensor
        return tensor

    def _computed(self) -> Tensor:
        args = [self._given(arg) for arg in self.args]
        kwargs = {name: self._given(arg) for name, arg in self.kwargs.items()}
        with torch.no_grad(), casting(self.cast):
            return self.call(*args, **kwargs)

    # A method and no inner function: one that calls itself would be a cycle, and hold its tensors until it is collected.
    def _given(self, arg: Any) -> Any:
        """An argument of the call, with tensors for recipes."""
        if isinstance(arg, Recipe | Source):
            return arg.value(self.again)
        return tuple(self._given(entry) for entry in arg) if isinstance(arg, tuple) else arg


Cast = tuple[str, bool, torch.dtype]
"""The state of autocast: of which kind of device, whether it casts, and to what."""


def cast_of(tensor: Tensor) -> Cast:
    """The state of autocast for the device of a tensor."""
    kind = tensor.device.type
    return kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)


def casting(cast: Cast) -> AbstractContextManager[Any]:
    """Restores a state of autocast; nothing where there was none and is none."""
    kind, enabled, dtype = cast
    if not enabled and not torch.is_autocast_enabled(kind):
        return nullcontext()
    return torch.autocast(kind, dtype, enabled, cache_enabled=False)


def size_of(tensor: Tensor) -> int:
    """Bytes of a tensor: those it lies in, where it repeats entries."""
    return min(tensor.nbytes, tensor.untyped_storage().nbytes())
