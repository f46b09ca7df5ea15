"""Which integers of modules have to follow the groups that are cut.

Of most modules only the values are known, and `supernet.elastic.size_attributes.candidates` lists the integers
that could follow a group. Which of them do is tried out: in one go where that is enough, else on one
group of every kind of place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations

from torch import nn

from supernet.elastic.failing import suspects
from supernet.elastic.plan import SizeAttribute
from supernet.elastic.size_attributes import candidates
from supernet.elastic.trace import Trace

MOST_CANDIDATES = 4
"""Up to this many kinds of integers every subset of them is tried."""
Kind = tuple[str, str, int | None, str, int]
Place = tuple[str, str, int | None]
Wrong = Callable[[Sequence[str], Sequence[SizeAttribute]], str | None]
"""Says what is wrong when these groups are cut and these integers follow; None when nothing is."""


@dataclass
class Following:
    """A search for the integers that follow some groups.

    Args:
        model: the largest network.
        trace: of it.
        names: of the groups, which are all cut.
        fails: says why the cut network does not run; cheap.
        wrong: compares the cut network with the masked one.
    """

    model: nn.Module
    trace: Trace
    names: Sequence[str]
    fails: Wrong
    wrong: Wrong
    found: dict[str, list[SizeAttribute]] = field(init=False)
    """Of each group the candidates."""

    def __post_init__(self) -> None:
        self.found = {
            name: candidates(self.model, self.trace, self.trace.groups[name]) for name in self.names
        }

    def size_attributes(self) -> list[SizeAttribute]:
        """The integers, as few as will do."""
        together = self._together()
        return self._by_place() if together is None else together

    def _together(self) -> list[SizeAttribute] | None:
        """The kinds of integers without which all groups, cut at once, do not run; None when that is not all."""
        kinds = list(dict.fromkeys(self._kind(one) for name in self.names for one in self.found[name]))
        if self.fails(self.names, ()) is None:
            kinds = []
        elif self.fails(self.names, self._of(kinds)) is not None:
            return None
        kinds = _needed(kinds, lambda some: self.fails(self.names, self._of(some)) is None)
        chosen = self._of(kinds)
        # What runs because a residual and the heads along it are cut alike has to move in proportion instead.
        residuals = [name for name in self.names if self._is_residual(name)]
        others = [name for name in self.names if not self._is_residual(name)]
        if any(some and self.fails(some, chosen) is not None for some in (residuals, others)):
            return None
        for follow in ([*chosen, *self._counts_of_heads(self._heads(), chosen)], chosen):
            if self.wrong(self.names, follow) is None:
                return follow
        return None

    def _of(self, kinds: Iterable[Kind]) -> list[SizeAttribute]:
        """All candidates of some kinds, one for each integer: the count of a layer's units before a residual's."""
        wanted, chosen = set(kinds), dict[Place, SizeAttribute]()
        for name in sorted(self.names, key=self._is_residual):
            for one in self.found[name]:
                if self._kind(one) in wanted:
                    chosen.setdefault(_place(one), one)
        return list(chosen.values())

    def _by_place(self) -> list[SizeAttribute]:
        """The integers tried out on one group of every kind of place that does not hold without."""
        kinds = {name: list(dict.fromkeys(map(self._kind, self.found[name]))) for name in self.names}
        places = {name: (self.trace.groups[name].kind, frozenset(kinds[name])) for name in self.names}
        lacking = suspects(self.names, lambda some: self.wrong(some, ()), places.__getitem__)
        known: dict[Hashable, frozenset[Kind]] = {}
        for name in lacking:
            if places[name] not in known:
                known[places[name]] = frozenset(self._smallest_subset(name, kinds[name]))
        chosen: dict[Place, SizeAttribute] = {}
        for name in self.names:
            for one in self.found[name]:
                if self._kind(one) in known.get(places[name], ()):
                    chosen.setdefault(_place(one), one)
        holding = [name for name in self._heads() if name not in lacking or known[places[name]]]
        counts = self._counts_of_heads(holding, chosen.values())
        holds = counts and self.wrong(holding, [*chosen.values(), *counts]) is None
        return [*chosen.values(), *(counts if holds else ())]

    def _is_residual(self, name: str) -> bool:
        return self.trace.groups[name].kind == "residual"

    def _heads(self) -> list[str]:
        return [name for name in self.names if self.trace.groups[name].kind == "heads"]

    def _counts_of_heads(self, names: Iterable[str], chosen: Iterable[SizeAttribute]) -> list[SizeAttribute]:
        """What is called a number of heads and is as many: it follows, even where nothing asks for it."""
        more: dict[Place, SizeAttribute] = {}
        for name in names:
            for one in self.found[name]:
                if "head" in one.attribute and one.value == self.trace.groups[name].size:
                    more.setdefault(_place(one), one)
        taken = set(map(_place, chosen))
        return [one for place, one in more.items() if place not in taken]

    def _kind(self, one: SizeAttribute) -> Kind:
        """Integers of one kind are those of one attribute of one class about one axis, in whichever block."""
        owner = type(self.model.get_submodule(one.module)).__name__
        return (
            owner,
            one.attribute,
            one.index,
            re.sub(r"\d+", "#", one.tensor),
            one.axis,
        )

    def _smallest_subset(self, name: str, kinds: list[Kind]) -> tuple[Kind, ...]:
        """Kinds of integers under which a group holds: none, all, then subsets by size."""

        def wrong(subset: Iterable[Kind]) -> str | None:
            """What is wrong when these kinds of integers follow; None when nothing is."""
            followed = [one for one in self.found[name] if self._kind(one) in subset]
            return self.wrong([name], followed)

        if len(kinds) > MOST_CANDIDATES:
            subsets = _by_progress(kinds, wrong)
        else:
            subsets = chain.from_iterable(combinations(kinds, count) for count in range(1, len(kinds)))
        for way in chain([(), tuple(kinds)], subsets) if kinds else ():
            if wrong(way) is None:
                for kind in way:
                    fewer = tuple(other for other in way if other != kind)
                    way = fewer if wrong(fewer) is None else way
                return way
        return ()


def _place(one: SizeAttribute) -> Place:
    return one.module, one.attribute, one.index


def _needed(kinds: list[Kind], enough: Callable[[list[Kind]], bool]) -> list[Kind]:
    """Kinds of which none can go: whole halves are tried before single ones, since most are not needed."""
    parts = [kinds]
    while parts:
        part = parts.pop()
        fewer = [kind for kind in kinds if kind not in part]
        if part and enough(fewer):
            kinds = fewer
        elif len(part) > 1:
            half = len(part) // 2
            parts += [part[half:], part[:half]]
    return kinds


def _by_progress(
    kinds: Sequence[Kind], wrong: Callable[[Iterable[Kind]], str | None]
) -> Iterator[tuple[Kind, ...]]:
    """Subsets of many kinds: larger ones only of those under which something else went wrong than before."""
    promising: list[tuple[Kind, ...]] = [()]
    for _ in range(MOST_CANDIDATES):
        wider = [(*way, kind) for way in promising for kind in kinds if kind not in way]
        yield from wider
        promising = [way for way in wider if wrong(way) != wrong(way[:-1])][:2]
