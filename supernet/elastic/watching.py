"""What a network does when it runs: which functions it calls, and what it asks about its sizes.

Sliced and masked network have to do the same in the same order. Code that compares a size, as in
``x + y if x.shape == y.shape else y``, may do something else at another width; so every comparison of
an integer that comes from a shape is written down, with where it was made and how it went.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

SINGLE = {
    torch.float32: torch.float64,
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.complex64: torch.complex128,
}
"""Types, and those of double precision in their place."""
CASTS = (Tensor.float, Tensor.half, Tensor.bfloat16)
SIZES = (Tensor.size, Tensor.numel, Tensor.nelement)
ABOUT = frozenset((*SIZES, Tensor.dim, Tensor.stride, Tensor.is_floating_point, Tensor.is_contiguous))
"""Methods that only ask about a tensor: how often that is done may depend on anything."""
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")
}


@dataclass(frozen=True)
class Question:
    """A comparison of an integer that comes from a shape.

    Args:
        where: file and line.
        how: name of the comparison in `COMPARISONS`.
        left: the one integer.
        right: the other one.
        roots: integers from which one of them was computed in a way that is not a sum of multiples.
    """

    where: str
    how: str
    left: int
    right: int
    roots: tuple[int, ...] = ()

    @property
    def answer(self) -> bool:
        """How it went."""
        return bool(COMPARISONS[self.how](self.left, self.right))


@dataclass
class Watched:
    """What one run did.

    Args:
        calls: names of the functions of PyTorch that were called, in order.
        questions: comparisons of sizes, in order.
    """

    calls: list[str] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    def differs(self, other: Watched) -> str | None:
        """What another run did otherwise; None when it did the same."""
        for ours, theirs in zip(self.questions, other.questions):
            if (ours.where, ours.how) != (theirs.where, theirs.how):
                break
            if ours.answer != theirs.answer:
                return f"the network compares sizes ({ours.where}), and {ours.left} with {ours.right} goes otherwise"
        for ours_called, theirs_called in zip(self.calls, other.calls):
            if ours_called != theirs_called:
                return f"the network calls {ours_called} in the place of {theirs_called}"
        if len(self.calls) != len(other.calls):
            return f"the network makes {len(self.calls)} calls in the place of {len(other.calls)}"
        return None


_watched: ContextVar[Watched | None] = ContextVar("watched", default=None)


class Size(int):
    """An integer that comes from a shape: it counts as any other, and its comparisons are written down."""

    roots: tuple[int, ...]

    def __new__(cls, value: int, roots: tuple[int, ...] = ()) -> Size:
        made = super().__new__(cls, value)
        made.roots = roots
        return made

    __hash__ = int.__hash__

    def __bool__(self) -> bool:
        _ask("ne", self, 0)
        return int(self) != 0

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (int(self),)


def _ask(how: str, left: Any, right: Any) -> None:
    watched = _watched.get()
    if watched is not None and isinstance(right, int):
        frame = sys._getframe(2)
        where = f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
        roots = (*getattr(left, "roots", ()), *getattr(right, "roots", ()))
        watched.questions.append(Question(where, how, int(left), int(right), roots))


def _comparing(name: str) -> Callable[[Size, Any], Any]:
    plain = getattr(int, f"__{name}__")

    def compare(self: Size, other: Any) -> Any:
        """As of an integer, written down."""
        _ask(name, self, other)
        return plain(self, other)

    return compare


def _computing(name: str, linear: bool) -> Callable[..., Any]:
    plain = getattr(int, name)

    def compute(self: Size, *others: Any) -> Any:
        """As of an integer; what comes out is still a size."""
        found = plain(self, *others)
        if type(found) is not int:
            return found
        from_sizes = [value for value in (self, *others) if isinstance(value, Size)]
        roots = tuple(root for value in from_sizes for root in value.roots)
        is_linear = linear and (name not in ("__mul__", "__rmul__") or len(from_sizes) == 1)
        return Size(found, roots if is_linear else (*roots, *map(int, from_sizes)))

    return compute


for _name in COMPARISONS:
    setattr(Size, f"__{_name}__", _comparing(_name))
for _name in ("add", "radd", "sub", "rsub", "mul", "rmul"):
    setattr(Size, f"__{_name}__", _computing(f"__{_name}__", linear=True))
for _name in (
    "floordiv",
    "rfloordiv",
    "mod",
    "rmod",
    "pow",
    "rpow",
    "lshift",
    "rshift",
    "and",
    "or",
    "xor",
    "abs",
):
    setattr(Size, f"__{_name}__", _computing(f"__{_name}__", linear=False))
Size.__neg__ = _computing("__neg__", linear=True)  # type: ignore[method-assign]


class Watching(TorchFunctionMode):
    """Writes down what a network does, perhaps in double precision throughout.

    Args:
        double: whether what would be made in a smaller floating type is made in double precision.
    """

    def __init__(self, double: bool) -> None:
        super().__init__()
        self.double = double
        self.watched = Watched()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        if name == "__get__":
            found = func(*args, **kwargs)
            return torch.Size(map(Size, found)) if type(found) is torch.Size else found
        if func in ABOUT:
            return _as_sizes(func(*map(_plain, args), **kwargs)) if func in SIZES else func(*args, **kwargs)
        if name == "_set_grad_enabled":
            return func(*args, **kwargs)
        self.watched.calls.append(name)
        args, kwargs = _plain(tuple(args)), {key: _plain(value) for key, value in kwargs.items()}
        if not self.double:
            return func(*args, **kwargs)
        args, kwargs = _doubled(args), {key: _doubled(value) for key, value in kwargs.items()}
        out = (Tensor.double if func in CASTS else func)(*args, **kwargs)
        # A function that was given no tensor made one of the usual type.
        makes = isinstance(out, Tensor) and out.dtype in SINGLE and not _holds_tensor((args, kwargs))
        return out.to(SINGLE[out.dtype]) if makes else out


class Calls(TorchFunctionMode):
    """Writes down which functions are called, with all that is neither a tensor nor a yes or no.

    A batch norm and a dropout are told by a yes or no whether they train.

    Args:
        network: that runs; its counts of the batches of training do not matter.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        buffers = network.named_buffers()
        self.counts = {id(buffer) for name, buffer in buffers if name.endswith("num_batches_tracked")}
        self.made: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", str(func))
        leaves = tree_leaves((args, kwargs or {}))
        counting = any(id(leaf) in self.counts for leaf in leaves)
        if func not in ABOUT and not counting and name not in ("__get__", "_set_grad_enabled"):
            self.made.append((name, [leaf for leaf in leaves if not isinstance(leaf, Tensor | bool)]))
        return func(*args, **(kwargs or {}))


@contextmanager
def watching(double: bool) -> Iterator[Watched]:
    """Watch what runs inside."""
    mode = Watching(double)
    token = _watched.set(mode.watched)
    try:
        with mode:
            yield mode.watched
    finally:
        _watched.reset(token)


def _as_sizes(value: Any) -> Any:
    return torch.Size(map(Size, value)) if isinstance(value, tuple) else Size(value)


def _plain(value: Any) -> Any:
    """Arguments with plain integers: not every function of PyTorch takes others."""
    if isinstance(value, Size):
        return int(value)
    if type(value) in (tuple, list, torch.Size):
        return type(value)(map(_plain, value))
    return value


def _doubled(value: Any) -> Any:
    return SINGLE.get(value, value) if isinstance(value, torch.dtype) else value


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_tensor, value.values()))
    return any(map(_holds_tensor, value)) if isinstance(value, tuple | list) else isinstance(value, Tensor)
