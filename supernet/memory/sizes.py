"""Sizes of memory, as people write and read them."""

from __future__ import annotations

import re

from supernet.errors import ConfigError

_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT]?)(i?)B)?\s*", re.IGNORECASE)


def bytes_of(text: str) -> int:
    """Bytes from ``2GiB``, ``512 MiB``, ``1.5GB`` or a plain number.

    Raises:
        ConfigError: for anything else, and for nothing at all.
    """
    match = _SIZE.fullmatch(text)
    size = 0
    if match:
        number, unit, binary = match.groups()
        size = int(float(number) * (1024 if binary else 1000) ** _UNITS[(unit or "").upper()])
    if size < 1:
        raise ConfigError(f"memory is {text!r}; a size is accepted, such as 2GiB, 512MiB or 1500MB")
    return size


def words_of(size: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"
