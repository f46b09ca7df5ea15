"""Which version of a file format this library reads, and what to do about a file of another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supernet.errors import StateError


def check_version(
    document: Mapping[str, Any], reads: int, *, what: str, older: str, key: str = "format"
) -> None:
    """Accept the version that this library reads, and refuse any other.

    Args:
        document: what the file holds; its version stands under ``key``.
        reads: the version that is accepted.
        what: the file, for the message: ``"the profile runs/mine/profile.json"``.
        older: what to do about a file of an older version: ``"measure again"``.
        key: what the format calls its version.

    Raises:
        StateError: for an older or newer version, or none at all; the message says what to do.
    """
    found = document.get(key) if isinstance(document, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, int):
        raise StateError(f"{what} does not say its {key}, so it is damaged or no such file; {older}")
    if found > reads:
        raise StateError(
            f"{what} has {key} {found}, and this version of supernet reads {reads}; "
            f"a newer version wrote it: install that one"
        )
    if found < reads:
        raise StateError(
            f"{what} has {key} {found}, and this version of supernet reads {reads}; "
            f"an older version wrote it: {older}"
        )
