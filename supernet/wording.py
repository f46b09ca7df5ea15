"""How numbers are said."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun: ``1 epoch``, ``1,133 examples``, ``no entries``.

    Args:
        plural: of the noun, where it is not the noun and an s.
    """
    many = plural or f"{noun}s"
    return f"1 {noun}" if count == 1 else f"{count:,} {many}" if count else f"no {many}"
