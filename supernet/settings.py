"""What can be set, read off the code: each option with what it accepts, its default and what it means.

A meaning is written once, in the ``Args:`` of the docstring beside the option.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Container, Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from supernet.config import describe


@dataclass(frozen=True)
class Setting:
    """One option.

    Args:
        key: as ``--set`` and a configuration file call it: ``train.epochs``.
        accepts: in words.
        default: as one would write it; empty when there is none.
        meaning: from its docstring.
        of: which of several things has it, by the name that chooses it; empty when all runs have it.
    """

    key: str
    accepts: str
    default: str
    meaning: str
    of: str = ""


def settings_of(kind: type[Any], where: str = "") -> Iterator[Setting]:
    """Every option of a dataclass and of the dataclasses it holds, in their order.

    Args:
        kind: the dataclass.
        where: dotted path of it in a configuration file.
    """
    hints, meanings = get_type_hints(kind), meanings_of(kind)
    for option in fields(kind):
        if not option.init:
            continue
        key, hint = f"{where}.{option.name}" if where else option.name, hints[option.name]
        if is_dataclass(hint) and isinstance(hint, type):
            yield from settings_of(hint, key)
        else:
            yield Setting(key, describe(hint), _written(_default(option)), meanings.get(option.name, ""))


def arguments_of(call: Callable[..., Any], where: str, leave_out: Container[str] = ()) -> Iterator[Setting]:
    """Likewise the arguments of a class or function, without those of some names."""
    hints = get_type_hints(call.__init__ if isinstance(call, type) else call)  # type: ignore[misc]
    meanings = meanings_of(call)
    for parameter in inspect.signature(call).parameters.values():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or parameter.name in leave_out:
            continue
        default = MISSING if parameter.default is parameter.empty else parameter.default
        meaning = meanings.get(parameter.name, "")
        hint = hints.get(parameter.name, Any)
        yield Setting(f"{where}.{parameter.name}", describe(hint), _written(default), meaning)


def meanings_of(thing: Any) -> dict[str, str]:
    """What the ``Args:`` of a docstring say, by name; a class knows what those it inherits from say."""
    found: dict[str, str] = {}
    for each in reversed(thing.__mro__) if isinstance(thing, type) else (thing,):
        found |= _arguments(inspect.cleandoc(each.__doc__ or ""))
    return found


def _arguments(text: str) -> dict[str, str]:
    _, _, rest = f"\n{text}".partition("\nArgs:\n")
    found: dict[str, str] = {}
    name = ""
    for line in rest.splitlines():
        if line and not line.startswith(" "):
            break
        start = re.match(r"    (\w+): (.*)", line)
        if start:
            name, found[start[1]] = start[1], start[2]
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return {name: meaning.replace("``", "") for name, meaning in found.items()}


def _default(option: Field[Any]) -> Any:
    return option.default_factory() if option.default_factory is not MISSING else option.default


def _written(value: Any) -> str:
    if value is MISSING:
        return ""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(json.dumps(one) if isinstance(one, str) else _written(one) for one in value)}]"
    return str(value) if value != "" else '""'
