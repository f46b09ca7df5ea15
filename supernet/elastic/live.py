"""Norms and means over an elastic width, taken over the entries that are left.

The masked network of the verification holds zeros where a cut drops entries. A sum does not see them;
a mean, a norm or a maximum does. So while it runs, these are taken over the other entries.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from supernet.elastic.layout import Sizes
from supernet.elastic.plan import Plan
from supernet.elastic.planning import with_constants
from supernet.elastic.rules import OVER_WHAT_IS_LEFT
from supernet.elastic.trace import Trace

Key = tuple[str, int, tuple[int, ...], tuple[int, ...]]
"""Name of a reduction, how many axes its input has, which of them are reduced, and their sizes."""
LAST = (F.layer_norm, torch.layer_norm, F.rms_norm, torch.rms_norm)
GROUPS = (F.group_norm, torch.group_norm)
ABOUT = frozenset(
    (
        *(Tensor.shape.__get__, Tensor.dtype.__get__, Tensor.device.__get__, Tensor.ndim.__get__),  # type: ignore[attr-defined]
        *(Tensor.size, Tensor.dim, Tensor.numel, Tensor.stride, Tensor.is_floating_point),
    )
)
"""What is asked about a tensor but for its entries."""


class Masked(TorchFunctionMode):
    """Every function sees the stored tensors with zeros where a mask has them, and nothing is copied to stay.

    Norms and means over an elastic size are taken over the entries that are left. A norm is told by its
    weight; a mean has none, and is told by its order: the n-th call of one key is the n-th such call of
    the trace. `missed` says whether that held.

    Args:
        masks: by the identity of a stored tensor, ones where an entry is left.
        reductions: keys of the traced means and sums over elastic axes, in their order, with one mask per
            reduced axis.
    """

    def __init__(
        self, masks: Mapping[int, Tensor], reductions: Iterable[tuple[Key, Sequence[Tensor]]] = ()
    ) -> None:
        super().__init__()
        self.masks = masks
        self.left: defaultdict[Key, list[Sequence[Tensor]]] = defaultdict(list)
        for key, lines in reductions:
            self.left[key].append(lines)
        self.times: defaultdict[Key, int] = defaultdict(int)

    def missed(self) -> list[Key]:
        """The traced reductions over something that is cut which were not run as often as they were traced."""
        return [
            key
            for key, calls in self.left.items()
            if self.times[key] != len(calls)
            and not all(bool(line.all()) for lines in calls for line in lines)
        ]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in ABOUT:
            return func(*args, **kwargs)
        if func in LAST or func in GROUPS:
            weight = kwargs.get("weight", args[2] if len(args) > 2 else None)
            kept = self.masks.get(id(weight))
            groups = kwargs.get("num_groups", args[1] if len(args) > 1 else 1)
            if kept is not None and not bool(kept.all()) and (func in LAST or groups == 1):
                return _norm(func, kept.flatten().bool(), -1 if func in LAST else 1, args, kwargs)
        args = tuple(map(self._seen, args))
        kwargs = {name: self._seen(value) for name, value in kwargs.items()}
        if getattr(func, "__name__", "") in OVER_WHAT_IS_LEFT and args and isinstance(args[0], Tensor):
            return self._reduce(func, args, kwargs)
        return func(*args, **kwargs)

    def _seen(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            kept = self.masks.get(id(value))
            return value if kept is None else value * kept
        if type(value) in (tuple, list) and any(isinstance(entry, Tensor) for entry in value):
            return type(value)(map(self._seen, value))
        return value

    def _reduce(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x, *rest = args
        dims = _dims(x, rest, kwargs)
        key = (func.__name__, x.dim(), dims, tuple(x.shape[dim] for dim in dims))
        if key not in self.left:
            return func(*args, **kwargs)
        at = self.times[key]
        self.times[key] += 1
        if at >= len(self.left[key]):
            return func(*args, **kwargs)
        for dim, line in zip(dims, self.left[key][at]):
            if not bool(line.all()):
                x = x.index_select(dim, line.nonzero().flatten().to(x.device))
        return func(x, *rest, **kwargs)


def reductions(trace: Trace, plan: Plan, sizes: Sizes) -> Iterator[tuple[Key, list[Tensor]]]:
    """The traced reductions, with ones where the sizes of a plan leave an entry of a reduced axis."""
    for each in trace.reductions:
        planned = (with_constants(layout, trace.groups, plan.dims) for layout in each.layouts)
        lines = [layout.kept(sizes, plan.full, like=torch.zeros(0)) for layout in planned]
        sizes_there = tuple(each.shape[dim] for dim in each.dims)
        yield (each.op, len(each.shape), each.dims, sizes_there), lines


def _dims(x: Tensor, rest: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    """The axes that a call of `Tensor.mean` or its like reduces, ascending."""
    dim = kwargs.get("dim", kwargs.get("axis", rest[0] if rest else None))
    if type(dim) is int:
        # x.sum(1, 2) names its axes one by one; a boolean after the first is no axis.
        dim = [dim, *(more for more in rest[1:] if type(more) is int)] if rest else [dim]
    elif not isinstance(dim, tuple | list):
        dim = ()
    return tuple(sorted(d % x.dim() for d in dim)) or tuple(range(x.dim()))


def _norm(func: Any, kept: Tensor, axis: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    where = kept.nonzero().flatten()
    x = args[0] if args else kwargs["input"]

    def left(value: Any) -> Any:
        """A weight, or a shape, of the entries that are left."""
        if isinstance(value, Tensor):
            return value.index_select(0, where)
        return [len(where)] if isinstance(value, tuple | list) else value

    rest = {name: left(value) for name, value in kwargs.items() if name != "input"}
    out = func(x.index_select(axis, where), *(left(value) for value in args[1:]), **rest)
    return torch.zeros_like(x).index_copy(axis, where, out)
