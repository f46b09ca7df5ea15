"""Which of many groups fail a check, found with few runs of the check.

A run costs two forward passes, and a deep network has hundreds of groups. But its blocks repeat, and
what fails in one of them fails in all. So groups that look alike are a *family*: families are halved
until single ones fail, and of a family that fails three members speak for the rest when they agree.
Nothing that fails is ever kept: what is left is checked together in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import chain, combinations
from math import comb

import networkx as nx

Wrong = Callable[[Sequence[str]], str | None]
"""Says what is wrong when these groups are cut together; None when nothing is."""


def failing(names: Sequence[str], wrong: Wrong, family: Callable[[str], Hashable]) -> dict[str, str]:
    """The groups to leave whole so that the others hold together, each with the reason.

    Of groups that only fail together the later ones are left whole.

    Args:
        names: of the groups, in the order of the network.
        wrong: checks some of them.
        family: what groups that can be expected to fail alike have in common.
    """
    if not names or wrong(names) is None:
        return {}
    out = suspects(names, wrong, family)
    rest = [name for name in names if name not in out]
    if rest and (why := wrong(rest)) is not None:
        out |= dict.fromkeys(_clashing(rest, wrong), f"only holds without the others: {why}")
    return out


def apart(names: Sequence[str], beside: Iterable[Iterable[str]]) -> list[list[str]]:
    """A few of the groups at a time: of any two that lie side by side, each once without the other.

    All groups cut at once say nothing of two that hold only as long as both are cut alike.

    Args:
        names: of the groups.
        beside: groups that lie side by side.
    """
    graph = nx.Graph()
    graph.add_nodes_from(names)
    for some in beside:
        graph.add_edges_from(combinations(some, 2))
    colours: dict[str, int] = nx.greedy_color(graph)
    count = max(colours.values(), default=0) + 1
    width = next(width for width in range(count + 1) if comb(width, width // 2) >= count)
    # No code holds all of another: they are as many bits each.
    codes = list(combinations(range(width), width // 2))
    return [[name for name in names if bit in codes[colours[name]]] for bit in range(width)]


def suspects(names: Sequence[str], wrong: Wrong, family: Callable[[str], Hashable]) -> dict[str, str]:
    """The groups that fail by themselves, each with the reason; arguments as those of `failing`."""
    families: dict[Hashable, list[str]] = {}
    for name in names:
        families.setdefault(family(name), []).append(name)
    return _of_families(list(families.values()), wrong) if names else {}


def _of_families(families: list[list[str]], wrong: Wrong) -> dict[str, str]:
    why = wrong([*chain(*families)])
    if why is None:
        return {}
    if len(families) == 1:
        return _of_family(families[0], why, wrong)
    half = len(families) // 2
    return _of_families(families[:half], wrong) | _of_families(families[half:], wrong)


def _of_family(names: list[str], why: str, wrong: Wrong) -> dict[str, str]:
    """All of a family that fails together where three members fail alone; else exactly those that do."""
    if len(names) > 1:
        reasons = [wrong([name]) for name in (names[0], names[len(names) // 2], names[-1])]
        if None in reasons:
            return _halved(names, why, wrong)
        why = reasons[0] or why
    return dict.fromkeys(names, why)


def _halved(names: list[str], why: str, wrong: Wrong) -> dict[str, str]:
    """Exactly those that fail alone."""
    if len(names) == 1:
        return {names[0]: why}
    out: dict[str, str] = {}
    half = len(names) // 2
    for part in (names[:half], names[half:]):
        if (reason := wrong(part)) is not None:
            out |= _halved(part, reason, wrong)
    return out


def _clashing(names: Iterable[str], wrong: Wrong) -> list[str]:
    """Groups that hold alone but not beside the ones before them; found by halving."""
    kept: list[str] = []
    out: list[str] = []
    rest = list(names)
    while rest:
        low, high = 0, len(rest)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if wrong(kept + rest[:middle]) is None else (low, middle - 1)
        kept += rest[:low]
        out += rest[low : low + 1]
        rest = rest[low + 1 :]
    return out
