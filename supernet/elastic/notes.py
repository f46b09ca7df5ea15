"""What a copy of a network has to look after beside its registered tensors.

A module can keep more than parameters, buffers and submodules: one tensor under two names, modules in
a list, a running mean in a plain attribute, a dictionary that is filled as it runs. `notes` finds all
of that once, so that the copies made for every call need not search.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import CodeType, FunctionType
from typing import Any

from torch import Tensor, nn

from supernet.elastic.references import REGISTERED, plain_attributes, reached
from supernet.errors import ConversionError

NOTES = "_supernet_notes"
"""Name of the attribute of the root module where its notes are kept."""
PLAIN = ("supernet.", "timm.")
"""Where classes come from, beside PyTorch, whose modules set nothing on each other as they run."""
FILLS = frozenset(("setdefault", "update", "__setitem__"))


@dataclass(frozen=True)
class Notes:
    """What was found in a network; paths are those of its modules, "" for the network itself.

    Args:
        ties: names of parameters and buffers that are another one's too, to the first name.
        links: attributes of a module that hold modules or registered tensors of the network.
        state: attributes and buffers that the methods of a module assign, which is how state is kept.
        caches: dictionaries that the methods of a module fill, with the keys they had from the start.
        is_plain: whether nothing changes modules as it runs, as far as their classes tell.
    """

    ties: dict[str, str]
    links: dict[str, tuple[str, ...]]
    state: dict[str, tuple[str, ...]]
    caches: dict[str, dict[str, tuple[Any, ...]]]
    is_plain: bool = False


def notes(network: nn.Module) -> Notes:
    """The notes of a network, made at the first call and kept with it."""
    known: Notes | None = network.__dict__.get(NOTES)
    if known is None:
        known = network.__dict__[NOTES] = _noted(network)
    return known


def ties(network: nn.Module) -> dict[str, str]:
    """Every further name of a parameter or buffer that has several, to its first."""
    out: dict[str, str] = {}
    for named in (network.named_parameters, network.named_buffers):
        first: dict[int, str] = {}
        for name, tensor in named(remove_duplicate=False):
            if first.setdefault(id(tensor), name) != name:
                out[name] = first[id(tensor)]
    return out


def refuse_computed(network: nn.Module) -> None:
    """Make sure that no module keeps a tensor that was computed from its parameters by a hook.

    Raises:
        ConversionError: naming the tensor, and how to be rid of it.
    """
    for path, module in network.named_modules():
        for name, value in plain_attributes(module):
            if isinstance(value, Tensor) and not value.is_leaf:
                raise ConversionError(
                    f"{f'{path}.{name}'.lstrip('.')!r} is computed from parameters and kept as a plain attribute, "
                    f"which no copy of the network can follow; {_remedy(module, name)}"
                )


def _remedy(module: nn.Module, name: str) -> str:
    if f"{name}_mask" in module._buffers:
        return f"it is pruned: make that permanent with torch.nn.utils.prune.remove(module, {name!r})"
    if f"{name}_g" in module._parameters:
        return "use torch.nn.utils.parametrizations.weight_norm, or torch.nn.utils.remove_weight_norm first"
    if f"{name}_orig" in module._parameters:
        return (
            "use torch.nn.utils.parametrizations.spectral_norm, or torch.nn.utils.remove_spectral_norm first"
        )
    return f"detach it, or set it to None before: network.{name} = None"


def filled_dictionaries(module: nn.Module) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Plain dictionaries that the methods of a module fill, and that are empty or hold tensors only."""
    fills = written(type(module))[1]  # type: ignore[arg-type]
    for name, value in module.__dict__.items():
        if (
            name in fills - REGISTERED
            and type(value) is dict
            and all(isinstance(v, Tensor) for v in value.values())
        ):
            yield name, value


def _noted(network: nn.Module) -> Notes:
    modules = {id(module) for module in network.modules()}
    tensors = {id(t) for t in (*network.parameters(), *network.buffers())}
    clean: set[int] = set()
    links: dict[str, tuple[str, ...]] = {}
    state: dict[str, tuple[str, ...]] = {}
    caches: dict[str, dict[str, tuple[Any, ...]]] = {}
    for path, module in network.named_modules():
        if held := tuple(
            name for name, value in plain_attributes(module) if leads_to(value, modules | tensors, clean)
        ):
            links[path] = held
        if found := {name: tuple(value) for name, value in filled_dictionaries(module)}:
            caches[path] = found
        names = written(type(module))[0] - found.keys() - {"training"}  # type: ignore[arg-type]
        if kept := tuple(name for name in (*module.__dict__, *module._buffers) if name in names):
            state[path] = kept
    is_plain = all(_is_plain(type(module)) for module in network.modules())  # type: ignore[arg-type]
    return Notes(ties(network), links, state, caches, is_plain)


def leads_to(value: Any, wanted: set[int], clean: set[int] | None = None) -> bool:
    """Whether a value holds one of these modules and tensors, perhaps inside modules that nobody registered."""
    waiting, seen = reached(value, clean), set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in wanted:
            return True
        if isinstance(one, nn.Module) and id(one) not in seen:
            seen.add(id(one))
            inside = (*one._modules.values(), *one._parameters.values(), *one._buffers.values())
            waiting += [part for part in inside if part is not None]
            waiting += [part for _, kept in plain_attributes(one) for part in reached(kept, clean)]
    return False


@cache
def written(cls: type) -> tuple[frozenset[str], frozenset[str]]:
    """Names of attributes that methods of a class assign, and of those they may put entries into.

    Constructors do not count, nor do PyTorch's own layers.
    """
    assigned: set[str] = set()
    filled: set[str] = set()
    for base in beyond_torch(cls):
        for code in codes(base):
            found = list(dis.get_instructions(code))
            assigned |= {str(i.argval) for i in found if i.opname in ("STORE_ATTR", "DELETE_ATTR")}
            if any(i.opname == "STORE_SUBSCR" or i.argval in FILLS for i in found):
                filled |= {str(i.argval) for i in found if i.opname == "LOAD_ATTR"}
    return frozenset(assigned), frozenset(filled)


@cache
def _is_plain(cls: type) -> bool:
    """Whether a class is of a library whose modules leave each other alone, and its methods name no hooks."""
    bases = beyond_torch(cls)
    return all(base.__module__.startswith(PLAIN) for base in bases) and not any(
        "hook" in name for base in bases for code in codes(base) for name in code.co_names
    )


def beyond_torch(cls: type) -> list[type]:
    """A class and its bases, without PyTorch's own layers."""
    return [
        base for base in cls.__mro__ if base is not object and not base.__module__.startswith("torch.nn.")
    ]


def codes(cls: type) -> Iterator[CodeType]:
    """The code of every method of a class but its constructor, with the functions inside it."""
    for name, member in vars(cls).items():
        functions = [getattr(member, "__func__", member)]
        if isinstance(member, property):
            functions = [member.fget, member.fset]
        for function in functions:
            function = getattr(function, "__wrapped__", function)
            if isinstance(function, FunctionType) and name != "__init__":
                yield from _nested(function.__code__)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)
