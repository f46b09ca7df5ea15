"""How numbers are said."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, isfinite, log10


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun: ``1 epoch``, ``1,133 examples``, ``no entries``.

    Args:
        plural: of the noun, where it is not the noun and an s.
    """
    many = plural or f"{noun}s"
    return f"1 {noun}" if count == 1 else f"{count:,} {many}" if count else f"no {many}"


def alike(values: Sequence[float], digits: int = 4) -> list[str]:
    """The numbers of one column, all with as many decimals: ``40.00`` beside ``41.63``.

    Args:
        values: one that is no number becomes a dash.
        digits: how many the smallest number has; whole numbers keep all of theirs, and no decimals.
    """
    known = [abs(value) for value in values if isfinite(value)]
    decimals = 0
    if any(value != int(value) for value in known):
        smallest = min(value for value in known if value)
        decimals = min(max(digits - 1 - floor(log10(smallest)), 0), 8)
    return [f"{value:,.{decimals}f}" if isfinite(value) else "-" for value in values]
