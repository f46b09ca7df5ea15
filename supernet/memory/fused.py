"""Fused: keep what convolutions and products of matrices answer, and make norms and activations again.

Autograd keeps the input of a convolution, that of the batch norm after it and that of the activation after that: three
maps, of which the last two are cheap to make from the first. All gradients are those of the plain network, bit for bit.
MobileNetV3 needs about half of its memory then, and a few percent more time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from supernet.memory.cheap import (
    BATCH_NORM,
    CHEAP,
    CONVOLVED,
    LONG,
    NORMALISED,
    PICKED,
    SEEN,
    Cheap,
    is_dense,
    is_stem,
)
from supernet.memory.modes import modes
from supernet.memory.recipes import SMALL, Ledger, Recipe, Remake, Source, cast_of, size_of

NARROW = 2
"""A sum is narrow where something at least so many times as large was kept since the one before."""


class Slot:
    """What autograd holds instead of a tensor."""

    __slots__ = ("is_copy", "node")

    def __init__(self, node: Recipe | Source, is_copy: bool = False) -> None:
        self.node, self.is_copy = node, is_copy

    def use(self) -> Tensor:
        """The tensor that autograd saved."""
        return self.node.use()


_innermost: ContextVar[object] = ContextVar("the pass that keeps recipes now", default=None)


@contextmanager
def apart() -> Iterator[None]:
    """Meanwhile the pass around keeps no recipes: what is saved is for somebody else to look after."""
    token = _innermost.set(None)
    try:
        yield
    finally:
        _innermost.reset(token)


class Fusing(TorchFunctionMode):
    """One pass forward that keeps recipes instead of tensors where it can; one inside another has its own.

    Args:
        pack: what autograd gets for a slot; None for the slot itself.
        unpack: the tensor of what it got.
    """

    def __init__(
        self, pack: Callable[[Slot], Any] | None = None, unpack: Callable[[Any], Tensor] | None = None
    ) -> None:
        super().__init__()
        self._known: dict[int, tuple[ref[Tensor], int, Recipe | Source]] = {}
        self._slots: list[Slot] = []
        self._ledger = Ledger()
        self._since: list[Source] = []
        self._pack, self._unpack = pack, unpack or _unpack
        self._hooks = ExitStack()

    def __enter__(self) -> Fusing:
        self._hooks.enter_context(torch.autograd.graph.saved_tensors_hooks(self._packed, self._unpack))
        super().__enter__()  # type: ignore[no-untyped-call]
        self._token = _innermost.set(self)
        return self

    def __exit__(self, *error: Any) -> None:
        _innermost.reset(self._token)
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        # what the hooks lead to goes with them: this is entered once, and holds no tensor afterwards
        self._hooks.close()
        self._known.clear()
        self._slots, self._since = [], []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Make a call; leave a recipe for what a cheap one answers."""
        kwargs = kwargs or {}
        if _innermost.get() is not self:
            return func(*args, **kwargs)
        if func is F.batch_norm:
            return self._batch_norm(args, kwargs)
        if func is F.max_pool2d:
            return self._max_pool(args, kwargs)
        cheap = CHEAP.get(func)
        if func is torch.conv2d and len(args) > 1 and is_stem(*args[:2]):
            cheap = CONVOLVED
        if cheap is None or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if cheap.is_copied and cheap.is_inplace(args, kwargs) and self._beside(cheap, func, args, kwargs):
            return args[0]
        return self._cheap(cheap, func, args, kwargs)

    def _beside(self, cheap: Cheap, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Make an in-place call beside its input, which then becomes its answer: autograd need not copy the input.

        Returns:
            Whether that was possible: nobody but Python may know the input.
        """
        x = args[0]
        if type(x) is not Tensor or x._is_view() or x._backward_hooks or x.retains_grad:
            return False
        before = self._node(x)
        if not isinstance(before, Recipe):
            return False
        pure, named = cheap.pure(args, kwargs)
        out = self._cheap(cheap, func, pure, named)
        learnt = self._node(out)
        if not isinstance(learnt, Recipe):
            return False
        # what is watched cannot be swapped
        del self._known[id(x)], self._known[id(out)]
        try:
            torch.utils.swap_tensors(x, out)  # type: ignore[no-untyped-call]
        except RuntimeError:
            self._know(x, before)
            return False
        self._know(x, learnt)
        return True

    def _cheap(self, cheap: Cheap, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        is_inplace = cheap.is_inplace(args, kwargs)
        before = self._node(args[0]) if is_inplace and isinstance(args[0], Tensor) else None
        pure, named = cheap.pure(args, kwargs)
        nodes = tuple(map(self._noted, pure))
        named = {name: self._noted(value) for name, value in named.items()}
        slots: list[Slot] = []
        self._slots = slots
        out = func(*args, **kwargs)
        if is_inplace:
            if not isinstance(before, Recipe):
                return out
            copies = [slot for slot in slots if slot.is_copy]
            if copies and before.ready(size_of(out)):
                _replace(copies, before)
        if cheap.remake.adds and self._is_rest(out, nodes):
            self._know(out, Source(out, is_sum=True))
        elif isinstance(out, Tensor):
            self._learn(out, self._recipe(cheap.remake, nodes, out, named), slots)
        elif isinstance(out, tuple | list):
            for i, one in enumerate(out):
                remake = Remake(_Entry(cheap.remake.call, i), is_fresh=False)
                self._learn(one, self._recipe(remake, nodes, one, named), [])
        return out

    def _is_rest(self, out: Any, nodes: Sequence[Any]) -> bool:
        """Whether a sum is kept: every other one of a row, where they are narrow beside what lies between them.

        They take few bytes then, and each is computed from the one before.
        """
        widest = max((size_of(one.kept) for one in self._since if one.kept is not None), default=0)
        self._since = []
        if not isinstance(out, Tensor) or not out.requires_grad or size_of(out) * NARROW > widest:
            return False
        return not any(isinstance(node, Source) and node.is_sum for node in nodes)

    def _max_pool(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Keep where the maxima were, in half of the bytes, and pick them there again."""
        node = self._noted(args[0])
        slots: list[Slot] = []
        self._slots = slots
        out = F.max_pool2d(*args, **kwargs)
        if isinstance(out, Tensor) and out.requires_grad and args[0].is_contiguous():
            found = [slot for slot in slots if slot.node.is_like(out.shape, torch.int64)]
            for slot in found:
                places = Source(slot.node.value().int(), keep=True)
                _replace([slot], self._recipe(LONG, (places,), out))
                self._learn(out, self._recipe(PICKED, (node, places), out), slots)
        return out

    def _batch_norm(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        given = dict(zip(names, args)) | kwargs
        x, weight, bias = given["input"], given.get("weight"), given.get("bias")
        nodes = [self._noted(one) for one in (x, weight, bias)]
        slots: list[Slot] = []
        self._slots = slots
        out = F.batch_norm(*args, **kwargs)
        if not out.requires_grad or not torch.is_grad_enabled():
            return out
        eps = given.get("eps", 1e-5)
        if not given.get("training", False):
            fixed = [Source(given[name], keep=True) for name in names[1:3]]
            recipe = self._recipe(BATCH_NORM, (nodes[0], *fixed, *nodes[1:], False, 0.0, eps), out)
        elif _keeps_statistics(out, x, weight):
            mean, invstd = out.grad_fn._saved_result1, out.grad_fn._saved_result2  # type: ignore[union-attr]
            recipe = self._recipe(NORMALISED, (*nodes, Source(mean, True), Source(invstd, True)), out)
        else:
            recipe = self._recipe(BATCH_NORM, (nodes[0], None, None, *nodes[1:], True, 0.0, eps), out)
        self._learn(out, recipe, slots)
        return out

    def _recipe(
        self, remake: Remake, args: Sequence[Any], like: Any, kwargs: dict[str, Any] | None = None
    ) -> Recipe:
        """How a tensor such as the one that a call just answered is computed again."""
        return Recipe(remake, args, kwargs or {}, cast_of(like), self._ledger)

    def _learn(self, out: Tensor, recipe: Recipe, slots: Sequence[Slot]) -> None:
        """Know a tensor by its recipe, also where autograd saved it in the call that answered it."""
        if not out.requires_grad or (not slots and self._node(out) is not None):
            return
        recipe.again = bool(slots)
        saved = [slot for slot in slots if _holds(slot, out)]
        if not saved or recipe.ready(size_of(out)):
            _replace(saved, recipe)
            self._know(out, recipe)

    def _know(self, tensor: Tensor, node: Recipe | Source) -> None:
        self._known[id(tensor)] = ref(tensor), tensor._version, node

    def _node(self, tensor: Tensor) -> Recipe | Source | None:
        """What is known of a tensor as it is now."""
        found = self._known.get(id(tensor))
        if found is None or found[0]() is not tensor or found[1] != tensor._version:
            return None
        return found[2]

    def _noted(self, arg: Any) -> Any:
        """An argument for a recipe: tensors by what is known of them."""
        if isinstance(arg, Tensor):
            node = self._node(arg)
            if node is None:
                free = arg.grad_fn is None or size_of(arg) < SMALL
                node = Source(arg, keep=free)
                self._know(arg, node)
            return node
        if isinstance(arg, list | tuple) and any(isinstance(entry, Tensor) for entry in arg):
            return tuple(map(self._noted, arg))
        return arg

    def _view(self, tensor: Tensor) -> Recipe | None:
        """A recipe for a view that a call took of a tensor that is known, such as the rows that ``linear`` makes."""
        whole = tensor._base
        node = None if whole is None else self._node(whole)
        if whole is None or not isinstance(node, Recipe) or whole.storage_offset() or not is_dense(whole):
            return None
        where = tensor.shape, tensor.stride(), tensor.storage_offset()
        return self._recipe(SEEN, (node, *where), tensor)

    def _packed(self, tensor: Tensor) -> Any:
        slot = self._slot(tensor)
        return slot if self._pack is None else self._pack(slot)

    def _slot(self, tensor: Tensor) -> Slot:
        """What to keep for a tensor that autograd saves."""
        size = size_of(tensor)
        if tensor.grad_fn is None or size < SMALL:
            slot = Slot(Source(tensor, keep=True))
            if size >= SMALL and not isinstance(tensor, nn.Parameter):
                self._slots.append(slot)
            return slot
        node = self._node(tensor) or self._view(tensor)
        if isinstance(node, Recipe) and node.ready(size):
            node.uses += 1
            slot = Slot(node)
        else:
            if not isinstance(node, Source):
                node = Source(tensor)
                self._know(tensor, node)
            if node.kept is None:
                node.keep(tensor, self._ledger)
                self._since.append(node)
            slot = Slot(node, is_copy=tensor.grad_fn.name() == "CloneBackward0")
        self._slots.append(slot)
        return slot


class _Entry:
    """One of several tensors that a call answers."""

    def __init__(self, call: Callable[..., Any], index: int) -> None:
        self.call, self.index = call, index

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """That tensor."""
        found: Tensor = self.call(*args, **kwargs)[self.index]
        return found


def _unpack(slot: Slot) -> Tensor:
    return slot.use()


def _holds(slot: Slot, tensor: Tensor) -> bool:
    """Whether a slot holds a tensor that is there still, and so where it lies in memory tells which it is."""
    kept = slot.node.kept if isinstance(slot.node, Source) else None
    return kept is not None and kept.data_ptr() == tensor.data_ptr() and kept.shape == tensor.shape


def _replace(slots: Sequence[Slot], recipe: Recipe) -> None:
    """Give autograd a recipe for the tensor that it saved, and let go of that."""
    for slot in slots:
        slot.node, source = recipe, slot.node
        recipe.uses += 1
        if isinstance(source, Source):
            source.kept = None


def _keeps_statistics(out: Tensor, x: Tensor, weight: Tensor | None) -> bool:
    """Whether what batch norm saved is enough to make its answer again, to the bit."""
    node = out.grad_fn
    wide = weight is None or weight.dtype in (torch.float32, torch.float64)
    return (
        node is not None and node.name() == "NativeBatchNormBackward0" and wide and is_dense(x) and x.is_cpu
    )


@modes.register("fused")
def fused(module: nn.Module) -> None:
    """Keep what convolutions and products of matrices answer; make norms, activations and sums again."""
    plain = module.forward

    @wraps(plain)
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The module's answer."""
        if not torch.is_grad_enabled():
            return plain(*args, **kwargs)
        with Fusing():
            return plain(*args, **kwargs)

    module.forward = forward
