"""Configuration files: a TOML file is a plain picture of fixed dataclasses, read strictly.

An unknown key is an error that names the nearest known one, and a value of the wrong kind is an error
that names the key, the value and what is accepted. A default is written down once, in its dataclass.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from supernet.errors import ConfigError, did_you_mean

T = TypeVar("T")

_WORDS = {int: "an integer", float: "a number", str: "a string", bool: "true or false", NoneType: "left out"}


def read_toml(path: Path, kind: type[T], overrides: Iterable[str] = ()) -> T:
    """The options in a file, with some of them replaced.

    Args:
        path: a TOML file.
        kind: the dataclass it is a picture of.
        overrides: ``"train.epochs=3"`` and the like, as typed on a command line.

    Raises:
        ConfigError: when the file is missing or no TOML, or for an unknown, missing or wrong value.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"cannot read the configuration {path}: {reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    try:
        return decode(override(document, overrides), kind)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def decode(document: Mapping[str, Any], kind: Callable[..., T], where: str = "") -> T:
    """A dataclass from plain nested mappings.

    Args:
        document: tables, lists, numbers, strings, as `tomllib` or `json` give them.
        kind: a dataclass; its fields may be dataclasses, dictionaries of them, or plain values.
        where: dotted path of the document in its file, for messages.

    Raises:
        ConfigError: for an unknown key, a missing one, or a value of the wrong kind.
    """
    if not isinstance(document, Mapping):
        raise ConfigError(f"{where or 'the configuration'} is {document!r}; a table of options is accepted")
    hints = get_type_hints(kind)
    known = {option.name: option for option in fields(kind) if option.init}  # type: ignore[arg-type]
    for key in document:
        if key not in known:
            raise ConfigError(f"unknown key {_path(where, key)!r}{did_you_mean(key, known)}")
    for name, option in known.items():
        if name not in document and option.default is MISSING and option.default_factory is MISSING:
            raise ConfigError(f"{_path(where, name)!r} is missing; {describe(hints[name])} is accepted")
    values = {key: _value(value, hints[key], _path(where, key)) for key, value in document.items()}
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}" if where else str(error)) from error


def override(document: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """The document with values replaced, leaving the original as it is.

    Args:
        document: plain nested mappings.
        assignments: ``key.path=value``; the value is read as TOML and, where it is none, as a string.

    Raises:
        ConfigError: for an assignment without ``=``, or a path through something that is no table.
    """
    changed = dict(document)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise ConfigError(f"{assignment!r} sets nothing; write it as section.key=value")
        table, *names = (part.strip() for part in path.split("."))
        changed[table] = _assigned(changed.get(table), names, _parsed(text.strip()), table)
    return changed


def without(document: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """The document without the values at some dotted paths, which then are what they are by default.

    Args:
        document: plain nested mappings; left as it is.
        paths: ``"section.key"``; one that is not there changes nothing.
    """
    changed = dict(document)
    for path in paths:
        key, _, rest = path.partition(".")
        if rest and isinstance(changed.get(key), Mapping):
            changed[key] = without(changed[key], [rest])
        elif not rest:
            changed.pop(key, None)
    return changed


def _assigned(old: Any, names: Sequence[str], value: Any, where: str) -> Any:
    if not names:
        return value
    if old is not None and not isinstance(old, Mapping):
        raise ConfigError(f"{where!r} is {old!r}, not a table; it has no key {names[0]!r}")
    inner = (old or {}).get(names[0])
    return {**(old or {}), names[0]: _assigned(inner, names[1:], value, _path(where, names[0]))}


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _path(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _value(value: Any, kind: Any, where: str) -> Any:
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for option in options:
        if isinstance(option, type) and is_dataclass(option):
            if isinstance(value, Mapping) or len(options) == 1:
                return decode(value, option, where)
        elif get_origin(option) is dict and isinstance(value, Mapping):
            inner = get_args(option)[1]
            return {str(key): _value(entry, inner, _path(where, str(key))) for key, entry in value.items()}
        elif (
            get_origin(option) in (list, tuple)
            and is_dataclass(get_args(option)[0])
            and isinstance(value, list)
        ):
            inner = get_args(option)[0]
            return get_origin(option)(_value(entry, inner, f"{where}[{i}]") for i, entry in enumerate(value))
    plain: Any = Union[tuple(option for option in options if not is_dataclass(option))]  # noqa: UP007
    try:
        return msgspec.convert(value, plain, dec_hook=_hook)
    except msgspec.ValidationError as error:
        literal = isinstance(value, str) and get_origin(kind) is Literal
        near = get_close_matches(value, get_args(kind), n=1) if literal else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{where} is {value!r}; {describe(kind)} is accepted{hint}") from error


def _hook(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"no {kind.__name__} can be read from {value!r}")


def describe(kind: Any) -> str:
    """What a type accepts, in words: ``an integer or left out``."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(describe(option) for option in inner))
    if origin is Literal:
        return "one of " + ", ".join(map(repr, inner))
    if origin in (list, tuple, Sequence):
        return f"a list, each {describe(inner[0])}"
    if origin in (dict, Mapping) or is_dataclass(kind):
        return "a table of options"
    return "a path" if kind is Path else _WORDS.get(kind, getattr(kind, "__name__", str(kind)))


def to_plain(options: Any) -> dict[str, Any]:
    """A dataclass as plain nested mappings, without the values that are None; `decode` reads it back."""
    return {
        option.name: _plain(value)
        for option in fields(options)
        if option.init and (value := getattr(options, option.name)) is not None
    }


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_plain(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def to_toml(options: Any) -> str:
    """The text of a TOML file with every option of a dataclass; `read_toml` reads it back."""
    lines = _table(to_plain(options), "")
    return "\n".join(lines).strip() + "\n"


def _table(document: Mapping[str, Any], where: str) -> list[str]:
    tables = {key: value for key, value in document.items() if isinstance(value, Mapping)}
    lines = [f"{_key(key)} = {_literal(value)}" for key, value in document.items() if key not in tables]
    if lines and where:
        lines.insert(0, f"[{where}]")
    for key, table in tables.items():
        inner = _table(table, _path(where, _key(key)))
        lines += ["", *inner] if inner else []
    return lines


def _key(key: str) -> str:
    bare = key and all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in key)
    return key if bare else _literal(key)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_literal(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return repr(value)
