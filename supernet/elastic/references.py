"""Modules and tensors that are kept where PyTorch does not look: lists, dictionaries, closures, hooks.

A copy of a module tree has new modules and new tensors. Whatever a module keeps of them in a plain
attribute has to be replaced in the copy as well, or the copy runs, and changes, parts of the
original. `reached` finds such values, `Replacing` rebuilds them.
"""

from __future__ import annotations

import copy
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from supernet.errors import ConversionError

ATOMS = (
    *(str, bytes, int, float, complex, bool, type(None), type, ModuleType, BuiltinFunctionType),
    *(torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format),
)
"""Values that lead nowhere."""
PLAINEST = frozenset((str, int, float, bool, type(None)))
"""The most common of them."""
REGISTERED = frozenset(("_parameters", "_buffers", "_modules"))
"""Where a module keeps what PyTorch knows of."""


def parts(value: Any) -> Iterator[Any]:
    """What a plain value holds directly: entries, attributes, what a function or method closes over."""
    if isinstance(value, Tensor | nn.Module) or _is_atom(value):
        return
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset | deque):
        yield from value
    elif isinstance(value, MethodType):
        yield value.__self__
    elif isinstance(value, FunctionType):
        yield from (_content(cell) for cell in value.__closure__ or ())
        yield from value.__defaults__ or ()
        yield from (value.__kwdefaults__ or {}).values()
    elif isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, weakref.ReferenceType):
        yield value()
    else:
        yield from _attributes(value).values()


def reached(value: Any, clean: set[int] | None = None) -> list[nn.Module | Tensor]:
    """The modules and tensors that a value leads to; modules are not looked into.

    Args:
        value: of an attribute of a module.
        clean: identities of values known to lead to none; those found are added.
    """
    clean = set() if clean is None else clean
    found: list[nn.Module | Tensor] = []
    seen: dict[int, Any] = {}
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Tensor | nn.Module):
            found.append(one)
        elif not _is_atom(one) and id(one) not in seen and id(one) not in clean:
            seen[id(one)] = one
            waiting += parts(one)
    if not found:
        clean |= seen.keys()
    return found


def plain_attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The attributes of a module other than its parameters, buffers and submodules."""
    for name, value in module.__dict__.items():
        if type(value) in PLAINEST or name in REGISTERED:
            continue
        if not (_is_empty(value) or _is_atom(value)):
            yield name, value


class Replacing:
    """Puts modules and tensors of a copy in the place of the original's, however they are kept.

    Args:
        known: by identity of an original module or tensor, what stands for it.
        module: what stands for any other module.
        tensor: what stands for any other tensor.
        own: whether containers that hold neither are copied too.
    """

    def __init__(
        self,
        known: dict[int, Any],
        *,
        module: Callable[[nn.Module], nn.Module],
        tensor: Callable[[Tensor], Tensor],
        own: bool,
    ) -> None:
        self.known, self.module, self.tensor, self.own = known, module, tensor, own
        # Identities are those of objects that live: what was looked up is kept until the copy is made.
        self._alive: list[Any] = []

    def __call__(self, value: Any) -> Any:
        """The value in which everything of the original is replaced; itself when nothing had to be.

        Raises:
            ConversionError: when it holds a module or tensor and can not be rebuilt.
        """
        if id(value) in self.known:
            return self.known[id(value)]
        if _is_empty(value):
            return self._enter(value, type(value)()) if self.own else value
        if _is_atom(value):
            return value
        if isinstance(value, nn.Module):
            return self._enter(value, self.module(value))
        if isinstance(value, Tensor):
            return self._enter(value, self.tensor(value))
        if not self.own and not reached(value):
            return value
        return self._rebuilt(value)

    def attribute(self, name: str, value: Any) -> Any:
        """The value of an attribute, replaced.

        Raises:
            ConversionError: as above, with the name.
        """
        try:
            return self(value)
        except ConversionError as error:
            raise ConversionError(
                f"{name!r} can not follow a copy of the network: {error}; "
                f"keep modules and tensors in registered attributes, e.g. an nn.ModuleList"
            ) from error

    def _enter(self, value: Any, replacement: Any) -> Any:
        self._alive.append(value)
        self.known[id(value)] = replacement
        return replacement

    def _rebuilt(self, value: Any) -> Any:
        if isinstance(value, dict):
            out = self._enter(value, copy.copy(value))
            out.update((key, self(entry)) for key, entry in value.items())
            return out
        if isinstance(value, list | deque):
            out = self._enter(value, copy.copy(value))
            for i, entry in enumerate(value):
                out[i] = self(entry)
            return out
        if isinstance(value, tuple | set | frozenset):
            entries = [self(entry) for entry in value]
            if all(new is old for new, old in zip(entries, value)) and not isinstance(value, set):
                return value
            named = hasattr(value, "_fields")
            return self._enter(value, type(value)(*entries) if named else type(value)(entries))
        if isinstance(value, MethodType):
            return MethodType(value.__func__, self(value.__self__))
        if isinstance(value, partial):
            keywords = {key: self(entry) for key, entry in value.keywords.items()}
            return type(value)(self(value.func), *map(self, value.args), **keywords)
        if isinstance(value, weakref.ReferenceType):
            return weakref.ref(self(value())) if value() is not None else value
        if isinstance(value, FunctionType):
            return self._function(value)
        return self._object(value)

    def _function(self, function: FunctionType) -> FunctionType:
        """A function whose closure and defaults are those of the copy."""
        if not reached(function):
            return function
        cells = tuple(CellType() for _ in function.__closure__ or ())
        out = FunctionType(function.__code__, function.__globals__, function.__name__, None, cells or None)
        self._enter(function, out)
        for cell, old in zip(cells, function.__closure__ or ()):
            cell.cell_contents = self(_content(old))
        out.__defaults__ = self(function.__defaults__)
        out.__kwdefaults__ = self(function.__kwdefaults__)
        out.__dict__.update(function.__dict__)
        return out

    def _object(self, value: Any) -> Any:
        """An object of any class, with its attributes replaced."""
        holds = bool(reached(value))
        if not holds and not hasattr(value, "__dict__"):
            return value
        try:
            # where a class says itself how it is copied it may forbid the other way, as the ops of torch.ops do
            own_way = not holds and hasattr(type(value), "__deepcopy__")
            out = copy.deepcopy(value) if own_way else copy.copy(value)
        except Exception as error:  # whatever a foreign class raises when it is copied
            if not holds:
                return value
            raise ConversionError(
                f"a {type(value).__name__} holds a part of the network and can not be copied: {error}"
            ) from error
        if out is value:
            if holds:
                raise ConversionError(
                    f"a {type(value).__name__} holds a part of the network and copies as itself"
                )
            return value
        self._enter(value, out)
        if own_way:
            return out
        for name, entry in _attributes(value).items():
            if (new := self(entry)) is not entry:
                object.__setattr__(out, name, new)
        return out


def storages(tensors: Iterable[Tensor]) -> dict[int, Tensor]:
    """Tensors by the address of their memory; those that hold none are left out."""
    out = {}
    for tensor in tensors:
        if tensor.layout is torch.strided and not tensor.is_meta and tensor.untyped_storage().nbytes():
            out[tensor.untyped_storage().data_ptr()] = tensor
    return out


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object of any class, those in slots too."""
    out = dict(getattr(value, "__dict__", None) or {})
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in {slots} if isinstance(slots, str) else {*slots} - {"__dict__", "__weakref__"}:
            # Asked of the class: an object may answer to any name.
            with suppress(AttributeError, KeyError):
                out[name] = cls.__dict__[name].__get__(value)
    return out


def _is_empty(value: Any) -> bool:
    """Whether a value is a container without entries, as most of what a module keeps is."""
    return type(value) in (dict, OrderedDict, list, set) and not value


def _is_atom(value: Any) -> bool:
    """Whether a value leads nowhere: a constant, or a part of PyTorch itself."""
    if type(value) in PLAINEST:
        return True
    if isinstance(value, Tensor | nn.Module):
        return False
    return isinstance(value, ATOMS) or type(value).__module__.startswith("torch._")


def _content(cell: CellType) -> Any:
    """What a cell of a closure holds; None as long as that is nothing."""
    try:
        return cell.cell_contents
    except ValueError:
        return None
