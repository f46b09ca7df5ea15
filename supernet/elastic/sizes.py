"""Which sizes a group may take: ratios of its units, or a list; and the choices they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise

import numpy as np

from supernet.elastic.depth import Stage
from supernet.elastic.plan import Dim
from supernet.elastic.trace import Group, Trace
from supernet.errors import ConversionError
from supernet.space import Choice, SearchSpace

DIMS = ("hidden", "heads", "residual", "depth", "kernel")
"""Everything that can be elastic; a squeeze follows the group it gates."""
SMALLEST = {"hidden": 4, "heads": 4, "residual": 8}
"""Sixteenths of a group's units that are the fewest it may keep."""
MANY_GROUPS = 16
"""A network of fewer groups gets sizes in steps of a sixteenth, any other in steps of an eighth."""
Wanted = Mapping[str, Sequence[int | float]]


def divisible(size: float, divisor: int, full: int) -> int:
    """The nearest multiple of ``divisor`` between it and ``full``; never more than a tenth below ``size``."""
    if full <= divisor:
        return min(full, max(1, round(size)))
    nearest = max(divisor, int(size + divisor / 2) // divisor * divisor)
    if nearest < 0.9 * size:
        nearest += divisor
    return min(full, nearest)


@dataclass(frozen=True)
class Rules:
    """How sizes are picked.

    Args:
        dims: kinds that may be elastic.
        choices: by kind, or by a pattern of the names of groups and stages: ratios (floats up to
            1) of the largest size, or sizes (integers).
        divisor: channel counts are rounded to multiples of it.
        tie: ``none``, ``block`` or ``stage``: groups of one kind inside one share one choice.
        step: sixteenths between two sizes where nothing was asked.
    """

    dims: tuple[str, ...] = DIMS
    choices: Wanted = field(default_factory=dict)
    divisor: int = 8
    tie: str = "none"
    step: int = 2

    def wanted(self, name: str, kind: str) -> Sequence[int | float] | None:
        """What the user asked of a group or stage; the most specific pattern wins."""
        matches = [p for p in self.choices if p != kind and fnmatchcase(name, p)]
        key = max(matches, key=len) if matches else kind
        return self.choices.get(key)

    def ratios(self, kind: str) -> tuple[float, ...]:
        """The shares of a group's units that are tried where nothing was asked."""
        return tuple(sixteenths / 16 for sixteenths in range(SMALLEST[kind], 17, self.step))

    def values(self, group: Group, ratios: Sequence[int | float] | None = None) -> tuple[int, ...]:
        """The sizes of a group, ascending; the last one is the largest network's.

        Raises:
            ConversionError: for a list that is unsorted, holds a value twice or leaves the layer.
        """
        wanted = self.wanted(group.name, group.kind) if ratios is None else ratios
        if group.kind == "kernel":
            return _checked(group.name, wanted, tuple(range(3, group.size + 1, 2)))
        listed = wanted if wanted is not None else self.ratios(group.kind)
        if all(isinstance(value, int) for value in listed):
            return _checked(group.name, listed, range(1, group.size + 1))
        _ascending(group.name, listed)
        if not all(0 < value <= 1 for value in listed):
            raise ConversionError(
                f"ratios of {group.name!r} are {tuple(listed)}; give floats above 0, up to 1.0"
            )
        step = max(1, self.divisor // group.channels)
        return tuple(
            sorted(
                {
                    group.size,
                    *(divisible(group.size * value, step, group.size) for value in listed if value < 1),
                }
            )
        )


def _ascending(name: str, values: Sequence[int | float]) -> None:
    if not values:
        raise ConversionError(f"{name!r} was given no values; give at least one")
    if len(set(values)) < len(values):
        raise ConversionError(f"{name!r} was given a value twice: {tuple(values)}; remove the duplicate")
    if any(low > high for low, high in pairwise(values)):
        raise ConversionError(f"{name!r} is not sorted: {tuple(values)}; try {tuple(sorted(values))}")


def _checked(
    name: str, wanted: Sequence[int | float] | None, allowed: Sequence[int], every: bool = False
) -> tuple[int, ...]:
    """The wanted values, when the layer holds them all, with the largest one last."""
    if wanted is None:
        return tuple(allowed)
    _ascending(name, wanted)
    if any(isinstance(value, float) for value in wanted):
        picked = {min(allowed, key=lambda a: abs(a - value * allowed[-1])) for value in wanted}
        return tuple(sorted({*picked, allowed[-1]}))
    for value in wanted:
        if value not in allowed:
            spread = f"{allowed[0]} to {allowed[-1]}" if len(allowed) > 6 else ", ".join(map(str, allowed))
            raise ConversionError(f"{name!r} was asked to be {value}; it can be {spread}")
    return tuple(sorted({*(int(value) for value in wanted), allowed[-1]}))


@dataclass
class SpaceBuilder:
    """The choices of a conversion and the dims they set, group by group.

    Args:
        rules: how sizes are picked.
        trace: of the largest network.
        stages: where blocks can be left out.
        live: names of the groups that may be elastic.
        resolutions: sides of the input to choose among; none makes it no choice.
    """

    rules: Rules
    trace: Trace
    stages: Sequence[Stage]
    live: Sequence[str]
    resolutions: Sequence[int] = ()
    choices: dict[str, Choice] = field(default_factory=dict)
    dims: dict[str, Dim] = field(default_factory=dict)
    switches: dict[str, Dim] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.resolutions:
            self.choices["resolution"] = Choice("resolution", tuple(self.resolutions))
        for stage in self.stages:
            self._depth(stage)
        groups = [self.trace.groups[name] for name in self.live]
        for group in groups:
            if group.kind in self.rules.dims and group.kind != "squeeze" and group.size > 1:
                self._width(group)
        for group in groups:
            if group.kind == "squeeze" and group.within in self.dims:
                self._follow(group, self.dims[group.within])

    @property
    def space(self) -> SearchSpace:
        """All choices; what decides whether another one matters comes first."""
        return SearchSpace(tuple(self.choices.values()))

    def _depth(self, stage: Stage) -> None:
        wanted = self.rules.wanted(stage.name, "depth")
        if wanted is not None and any(value == 0 for value in wanted):
            raise ConversionError(
                f"the depth of {stage.name!r} was asked to be 0; "
                f"it can be {stage.depths[0]} to {stage.depths[-1]}"
            )
        name = f"{stage.name}.depth"
        values = _checked(name, wanted, stage.depths)
        if len(values) < 2:
            return
        self.choices[name] = Choice(name, values)
        for i, block in enumerate(stage.blocks, start=stage.fixed + 1):
            if i > values[0]:
                there = np.array([int(value >= i) for value in values])
                self.switches[block] = Dim(f"{block}.present", 1, (name,), there, "present")

    def _width(self, group: Group) -> None:
        home = self._home(group)
        shared = self._shared(group)
        if shared is None:
            values = self.rules.values(group)
            if len(values) > 1:
                self.choices[group.name] = Choice(group.name, values, self._needs(home))
                self.dims[group.name] = Dim(
                    group.name, group.size, (group.name,), np.array(values), group.kind
                )
            return
        ratios = self.rules.wanted(group.name, group.kind) or self.rules.ratios(group.kind)
        if not all(isinstance(ratio, float) for ratio in ratios):
            raise ConversionError(
                f"{shared!r} is tied over several layers; give ratios, not sizes: {tuple(ratios)}"
            )
        ratios = tuple(sorted({*ratios, 1.0}))
        sizes = np.array([self.rules.values(group, (ratio,))[0] for ratio in ratios])
        if shared not in self.choices:
            self.choices[shared] = Choice(
                shared, ratios, self._needs(home) if self.rules.tie == "block" else None
            )
        self.dims[group.name] = Dim(group.name, group.size, (shared,), sizes, group.kind)

    def _follow(self, group: Group, leader: Dim) -> None:
        sizes = np.maximum(1, -(-group.size * leader.table // leader.full))
        self.dims[group.name] = Dim(group.name, group.size, leader.by, sizes, "squeeze")

    def _home(self, group: Group) -> str | None:
        """The block that can be left out and holds all of a group."""
        places = [tensor for tensor, _ in group.members]
        places += [weight for weight, name in self.trace.kernels.items() if name == group.name]
        for stage in self.stages:
            for block in stage.blocks:
                if all(place.startswith(f"{block}.") for place in places):
                    return block
        return None

    def _needs(self, block: str | None) -> tuple[str, tuple[int, ...]] | None:
        if block is None or block not in self.switches:
            return None
        switch = self.switches[block]
        values = self.choices[switch.by[0]].values
        return switch.by[0], tuple(value for value, there in zip(values, switch.table) if there)  # type: ignore[misc]

    def _shared(self, group: Group) -> str | None:
        """Name of the choice that a group shares with others of its kind; None when it has its own."""
        if self.rules.tie == "none" or group.kind not in ("hidden", "heads"):
            return None
        for stage in self.stages:
            for block in stage.blocks:
                if all(tensor.startswith(f"{block}.") for tensor, _ in group.members):
                    return f"{block if self.rules.tie == 'block' else stage.name}.{group.kind}"
        return None
