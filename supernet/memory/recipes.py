"""How a tensor is computed again: the tensors it comes from, and the cheap calls in between.

While a network runs, every call of `supernet.memory.cheap` leaves a recipe for what it answers. What autograd wants to
keep for the backward pass is then replaced by its recipe, where everything that the recipe starts from is kept already,
or takes less memory. A recipe names tensors by themselves and by their version, never by where they lie in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import ref

import torch
from torch import Tensor

SMALL = 4096
"""Bytes below which a tensor is kept as it is: a recipe would take as much."""
LONGEST = 8
"""Sums in a row that are computed again at most: each needs the one before."""


STRIDE = 3
"""Sums after which one is held in any case, when a row of them is computed: those before the next start from there."""


class Ledger:
    """How many bytes of what one pass kept are free again, and how many of what was computed again are held."""

    def __init__(self) -> None:
        self.freed = 0
        self.held = 0

    def allows(self, size: int) -> bool:
        """Whether so many bytes may be held beside: half of what is free already, so that the peak stays behind."""
        return self.held + size <= self.freed // 2


class Node:
    """A tensor that a recipe can ask for: one that is kept, or one that is computed again."""

    __slots__ = ()

    def value(self, again: bool = False) -> Tensor:
        """The tensor.

        Args:
            again: whether it is needed right afterwards too.
        """
        raise NotImplementedError


class Source(Node):
    """A tensor that recipes start from: watched, and held once it is kept.

    Args:
        tensor: this one.
        keep: whether it is held from now on.
        is_sum: whether it is a sum that could have been computed again.
    """

    __slots__ = ("__weakref__", "_tensor", "is_sum", "kept", "ledger", "version")
    depth: ClassVar[int] = 0

    def __init__(self, tensor: Tensor, keep: bool = False, is_sum: bool = False) -> None:
        self.version, self.is_sum = tensor._version, is_sum
        self.ledger: Ledger | None = None
        self.kept: Tensor | None = None
        if keep:
            self.kept = tensor if tensor.grad_fn is None else tensor.detach()
        else:
            self._tensor = ref(tensor)

    def keep(self, tensor: Tensor, ledger: Ledger | None = None) -> None:
        """Hold the tensor, without the graph it came from, which would then hold itself.

        Args:
            tensor: this one.
            ledger: is told when it is free again.
        """
        self.kept = tensor if tensor.grad_fn is None else tensor.detach()
        self.ledger = None if tensor._is_view() else ledger

    def __del__(self) -> None:
        if self.ledger is not None and self.kept is not None:
            self.ledger.freed += self.kept.nbytes

    def is_like(self, shape: torch.Size, dtype: torch.dtype) -> bool:
        """Whether a tensor of that shape and type is kept."""
        return self.kept is not None and self.kept.shape == shape and self.kept.dtype == dtype

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


@dataclass(frozen=True)
class Remake:
    """How a tensor is computed from others.

    Args:
        call: answers it, and writes to none of its arguments.
        over: the same, over its first argument, where that is of no further use; None for a call that cannot.
        is_fresh: whether the answer lies in memory of its own.
        adds: whether the call adds up residuals: a recipe is long by how many of these are in a row.
    """

    call: Callable[..., Any]
    over: Callable[..., Any] | None = None
    is_fresh: bool = True
    adds: bool = False
    of_sum: Callable[..., Any] | None = None
    """The same of the sum of two tensors, over the first of them, in one pass."""


class Recipe(Node):
    """A tensor that is computed again when it is needed, and held while it is needed once more.

    Args:
        remake: how it is computed.
        args: of the call; a recipe, a source, a tuple of such, or anything else as it is.
        kwargs: likewise.
        cast: of autocast, when it was first computed.
        ledger: of the pass.
    """

    __slots__ = (
        "again", "args", "cast", "depth", "held", "is_ready", "kwargs", "ledger", "nodes", "remake", "uses"
    )  # fmt: skip

    def __init__(
        self, remake: Remake, args: Sequence[Any], kwargs: dict[str, Any], cast: Cast, ledger: Ledger
    ) -> None:
        self.remake, self.args, self.kwargs, self.cast, self.ledger = remake, args, kwargs, cast, ledger
        self.nodes = _nodes((*args, *kwargs.values()) if kwargs else args)
        self.depth: int = remake.adds + max((node.depth for node in self.nodes), default=0)
        self.again = False
        self.is_ready = False
        self.uses = 0
        self.held: Tensor | None = None

    def is_like(self, shape: torch.Size, dtype: torch.dtype) -> bool:
        """No tensor is kept."""
        return False

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
        self._hold(tensor if self.uses > 0 else None)
        return tensor

    def _hold(self, tensor: Tensor | None) -> None:
        self.ledger.held += (0 if tensor is None else tensor.nbytes) - (
            0 if self.held is None else self.held.nbytes
        )
        self.held = tensor

    def value(self, again: bool = False) -> Tensor:
        """The tensor, for another recipe.

        Held if somebody waits for it and that is soon, or if it is one of a row of sums and there is room, or it lies
        in the middle of a long one.

        Args:
            again: whether it is needed right afterwards too.
        """
        tensor = self.held if self.held is not None else self._computed()
        if self.uses > 0 and self.held is None:
            in_row = self.depth > 0 and (self.depth % STRIDE == 0 or self.ledger.allows(tensor.nbytes))
            if again or in_row:
                self._hold(tensor)
        return tensor

    def _computed(self) -> Tensor:
        if self.remake.of_sum is not None and (found := self._of_sum()) is not None:
            return found
        args = [self._given(arg) for arg in self.args]
        kwargs = {name: self._given(arg) for name, arg in self.kwargs.items()}
        call = self.remake.over if self._can_overwrite(args) else self.remake.call
        with _computing(self.cast):
            return call(*args, **kwargs)  # type: ignore[misc,no-any-return]

    def _of_sum(self) -> Tensor | None:
        """The tensor, where it is made of a sum that nobody else needs and that can be written over."""
        sum_ = self.args[0]
        if not isinstance(sum_, Recipe) or sum_.remake.over is not Tensor.add_ or sum_.held is not None:
            return None
        if sum_.uses > 0 or sum_.kwargs or len(sum_.args) != 2 or self.kwargs or len(self.args) != 1:
            return None
        one, other = args = [sum_._given(arg) for arg in sum_.args]
        plain = isinstance(other, Tensor) and other.shape == one.shape and one.dtype == torch.float32
        with _computing(self.cast):
            if plain and one.is_cpu and sum_._can_overwrite(args):
                return self.remake.of_sum(one, other)  # type: ignore[misc,no-any-return]
            return self.remake.call(sum_.remake.call(one, other))  # type: ignore[no-any-return]

    # A method, as an inner function that calls itself would be a cycle and hold its tensors until it is collected.
    def _given(self, arg: Any) -> Any:
        """An argument of the call, with tensors for recipes."""
        if isinstance(arg, Node):
            return arg.value(self.again)
        return tuple(self._given(entry) for entry in arg) if isinstance(arg, tuple) else arg

    def _can_overwrite(self, args: Sequence[Any]) -> bool:
        """Whether the first argument was made for this only, and has the shape of the answer."""
        if self.remake.over is None or not isinstance(first := self.args[0], Recipe):
            return False
        if first.held is not None or not first.remake.is_fresh:
            return False
        ours, others = args[0], [arg for arg in args[1:] if isinstance(arg, Tensor)]
        return all(other.dtype == ours.dtype and _fits(other.shape, ours.shape) for other in others)


def _fits(shape: torch.Size, into: torch.Size) -> bool:
    """Whether a tensor can be added to another without making it larger."""
    pairs = zip(reversed(shape), reversed(into))
    return len(shape) <= len(into) and all(size in (1, whole) for size, whole in pairs)


def _nodes(args: Sequence[Any]) -> list[Any]:
    """What a call takes that can be had again."""
    found = []
    for arg in args:
        if isinstance(arg, Node):
            found.append(arg)
        elif isinstance(arg, tuple):
            found += [entry for entry in arg if isinstance(entry, Node)]
    return found


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


@contextmanager
def _without_graph(cast: Cast) -> Iterator[None]:
    with torch.no_grad(), casting(cast):
        yield


def _computing(cast: Cast) -> AbstractContextManager[Any]:
    """Without a graph, in a state of autocast; nothing where that is how things are in a backward pass."""
    if torch.is_grad_enabled():
        return _without_graph(cast)
    return casting(cast)


def size_of(tensor: Tensor) -> int:
    """Bytes of a tensor: those it lies in, where it repeats entries."""
    if tensor.is_contiguous():
        return tensor.nbytes
    return min(tensor.nbytes, tensor.untyped_storage().nbytes())
