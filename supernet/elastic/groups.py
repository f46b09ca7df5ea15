"""Which sizes of a network have to change together.

While a network is traced every axis of every tensor is an `Axis`: runs laid end to end, each run a
product of factors, outermost first; a factor is a constant or a `Unit`, a size that might become
elastic. An operation that lines two axes up *ties* them: two units become one, or a unit turns out
to be made of others (768 channels become 12 heads of 64). What meets something that cannot change
is *fixed*, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod

MOST_RUNS = 512
"""An axis in more pieces than this is no longer followed."""


class Unit:
    """A size that may become elastic.

    Args:
        size: how many there are in the largest network.
    """

    __slots__ = ("becomes", "fixed", "parent", "roles", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.parent: Unit | None = None
        self.becomes: Axis | None = None
        self.fixed: str | None = None
        self.roles: set[str] = set()


Factor = int | Unit
Run = tuple[Factor, ...]
Axis = tuple[Run, ...]


def extent_of(factor: Factor) -> int:
    """The full size of one factor."""
    return factor.size if isinstance(factor, Unit) else factor


def run_size(run: Run) -> int:
    """The full size of one run."""
    return prod(extent_of(factor) for factor in run)


def axis_size(axis: Axis) -> int:
    """The full size of an axis."""
    return sum(run_size(run) for run in axis)


def fixed(size: int) -> Axis:
    """An axis that never changes."""
    return ((size,),)


def fresh(size: int) -> Axis:
    """An axis nothing is known about yet; one of a single entry never changes."""
    return ((Unit(size),),) if size > 1 else fixed(size)


def root(unit: Unit) -> Unit:
    """The unit that stands for all it was tied to."""
    while unit.parent is not None:
        if unit.parent.parent is not None:
            unit.parent = unit.parent.parent
        unit = unit.parent
    return unit


def units(axis: Axis) -> Iterator[Unit]:
    """The units an axis is made of, as they stand."""
    for run in resolve(axis):
        yield from (factor for factor in run if isinstance(factor, Unit))


def is_fixed(axis: Axis) -> bool:
    """Whether nothing about the axis can change."""
    return next(units(axis), None) is None


def resolve(axis: Axis) -> Axis:
    """The axis in terms of the units that are left after tying."""
    return _merged(part for run in axis for part in _expand(run))


def _expand(run: Run) -> Axis:
    for i, factor in enumerate(run):
        if not isinstance(factor, Unit):
            continue
        unit = root(factor)
        if unit.becomes is None:
            continue
        inner, rest = resolve(unit.becomes), run[i + 1 :]
        if len(inner) == 1:
            return _expand((*run[:i], *inner[0], *rest))
        outer = run[:i]
        repeats = prod(extent_of(factor) for factor in outer)
        if any(isinstance(factor, Unit) for factor in outer) or repeats * len(inner) > MOST_RUNS:
            fix(inner, "is only a part of a unit that moves as a whole")
            return _expand((*outer, unit.size, *rest))
        return tuple(piece for part in inner for piece in _expand((*part, *rest))) * repeats
    return (_simple(root(factor) if isinstance(factor, Unit) else factor for factor in run),)


def _simple(factors: Iterable[Factor]) -> Run:
    """Ones dropped, neighbouring constants multiplied."""
    out: list[Factor] = []
    for factor in factors:
        if isinstance(factor, int) and out and isinstance(out[-1], int):
            out[-1] *= factor
        elif factor != 1:
            out.append(factor)
    return tuple(out) or (1,)


def _merged(runs: Iterable[Run]) -> Axis:
    """Neighbouring runs that never change laid together."""
    out: list[Run] = []
    for run in runs:
        if (
            len(run) == 1
            and isinstance(run[0], int)
            and out
            and len(out[-1]) == 1
            and isinstance(out[-1][0], int)
        ):
            out[-1] = (out[-1][0] + run[0],)
        else:
            out.append(run)
    return tuple(out)


def compressed(axis: Axis) -> Axis:
    """Equal neighbours folded into one run, so that ``((u,), (u,), (u,))`` is ``((3, u),)``."""
    out: list[tuple[int, Run]] = []
    for run in resolve(axis):
        if out and out[-1][1] == run:
            out[-1] = (out[-1][0] + 1, run)
        else:
            out.append((1, run))
    return tuple(_simple((count, *run)) for count, run in out)


def fix(axis: Axis, why: str) -> None:
    """Keep every unit of an axis whole, and remember the first reason."""
    for unit in units(axis):
        if unit.fixed is None:
            unit.fixed = why


def mark(axis: Axis, role: str) -> None:
    """Note what the units of an axis were seen doing."""
    for unit in units(axis):
        unit.roles.add(role)


def tie(a: Axis, b: Axis, why: str) -> None:
    """Make two axes of one size the same axis; what cannot follow is fixed with ``why``."""
    a, b = resolve(a), resolve(b)
    if a == b:
        return
    if axis_size(a) != axis_size(b):
        fix(a, f"{why}: sizes {axis_size(a)} and {axis_size(b)} meet")
        fix(b, f"{why}: sizes {axis_size(a)} and {axis_size(b)} meet")
    elif (unit := _lone(a)) is not None:
        _assign(unit, b, why)
    elif (unit := _lone(b)) is not None:
        _assign(unit, a, why)
    else:
        _tie_runs(a, b, why)


def _lone(axis: Axis) -> Unit | None:
    if len(axis) == 1 and len(axis[0]) == 1 and isinstance(axis[0][0], Unit):
        return axis[0][0]
    return None


def _assign(unit: Unit, axis: Axis, why: str) -> None:
    other = _lone(axis)
    if other is not None:
        unit.parent = other
        other.roles |= unit.roles
        other.fixed = other.fixed or unit.fixed
        return
    if is_fixed(axis):
        unit.fixed = unit.fixed or f"{why}: meets a fixed size of {unit.size}"
        return
    if unit in set(units(axis)):
        fix(axis, f"{why}: meets a part of itself")
        return
    for part in units(axis):
        part.roles |= unit.roles
        part.fixed = part.fixed or unit.fixed
    unit.becomes = axis


def _tie_runs(a: Axis, b: Axis, why: str) -> None:
    """Walk two axes from the start, cutting the longer run where the shorter one ends."""
    left, right = a, b
    while left and right:
        p, q = run_size(left[0]), run_size(right[0])
        if p == q:
            _tie_factors(left[0], right[0], why)
            left, right = left[1:], right[1:]
            continue
        cut = split_axis(left, min(p, q)), split_axis(right, min(p, q))
        if cut[0] is None or cut[1] is None:
            fix(a, f"{why}: two divisions of one size meet")
            fix(b, f"{why}: two divisions of one size meet")
            return
        tie(cut[0][0], cut[1][0], why)
        left, right = resolve(cut[0][1]) if cut[0][1] else (), resolve(cut[1][1]) if cut[1][1] else ()


def _tie_factors(p: Run, q: Run, why: str) -> None:
    """Line up the factors of two runs of one size, splitting the larger where they differ."""
    left, right = list(p), list(q)
    while left and right:
        f, g = left[0], right[0]
        m, n = extent_of(f), extent_of(g)
        if m == n:
            tie(((f,),), ((g,),), why)
        elif len(right) == 1 or len(left) == 1:
            tie((tuple(left),), (tuple(right),), why) if _tieable(left, right) else _give_up(left, right, why)
            return
        else:
            larger, small = (left, n) if m > n else (right, m)
            if max(m, n) % small:
                _give_up(left, right, why)
                return
            larger[:1] = split_factor(larger[0], small)
            continue
        left, right = left[1:], right[1:]


def _tieable(left: Sequence[Factor], right: Sequence[Factor]) -> bool:
    """Whether one side is a single unit, which may become whatever stands opposite."""
    return any(len(side) == 1 and isinstance(side[0], Unit) for side in (left, right))


def _give_up(left: Sequence[Factor], right: Sequence[Factor], why: str) -> None:
    if (len(left) == 1 and isinstance(left[0], int)) or (len(right) == 1 and isinstance(right[0], int)):
        reason = f"{why}: meets a fixed size of {run_size(tuple(left))}"
    else:
        reason = f"{why}: two divisions of one size meet"
    fix((tuple(left),), reason)
    fix((tuple(right),), reason)


def split_factor(factor: Factor, outer: int) -> list[Factor]:
    """A factor as ``outer`` times the rest; a unit turns out to be made of two."""
    inner = extent_of(factor) // outer
    if not isinstance(factor, Unit):
        return [outer, inner]
    parts = (Unit(outer), Unit(inner))
    _assign(root(factor), (parts,), "division")
    return list(parts)


def split_axis(axis: Axis, size: int) -> tuple[Axis, Axis] | None:
    """The first ``size`` entries of an axis and the others; None where no unit ends there."""
    axis = resolve(axis)
    first: list[Run] = []
    for i, run in enumerate(axis):
        if size == 0:
            return tuple(first), axis[i:]
        if run_size(run) <= size:
            first.append(run)
            size -= run_size(run)
            continue
        cut = _split_run(run, size)
        return cut and ((*first, *cut[0]), (*cut[1], *axis[i + 1 :]))
    return (tuple(first), ()) if size == 0 else None


def _split_run(run: Run, size: int) -> tuple[Axis, Axis] | None:
    outer, inner = run[0], run[1:]
    each = run_size(inner)
    if isinstance(outer, int) and size > each > 1 and size % each:
        cut = split_axis((((size // each), *inner), inner, ((outer - size // each - 1), *inner)), size)
        return cut if cut is None else (cut[0], tuple(run for run in cut[1] if run_size(run)))
    if isinstance(outer, int) and size < each:
        one = split_axis((inner,), size)
        return one and (one[0], (*one[1], *(((outer - 1, *inner),) if outer > 1 else ())))
    if size % each:
        return None
    keep = size // each
    if isinstance(outer, int):
        return ((keep, *inner),), ((outer - keep, *inner),)
    parts = Unit(keep), Unit(outer.size - keep)
    _assign(outer, ((parts[0],), (parts[1],)), "division")
    return ((parts[0], *inner),), ((parts[1], *inner),)


def regroup(axes: Sequence[Axis], shape: Sequence[int]) -> list[Axis]:
    """The axes of a tensor after it is reshaped to ``shape``."""
    out: list[Axis] = []
    before = [axis for axis in axes if axis_size(axis) != 1]
    at, j = 0, 0
    while j < len(shape):
        if shape[j] == 1:
            out.append(fixed(1))
            j += 1
            continue
        start, sources, targets = j, [before[at]], [shape[j]]
        at, j = at + 1, j + 1
        have, want = axis_size(sources[0]), targets[0]
        while have != want:
            if have < want:
                have *= axis_size(before[at])
                sources.append(before[at])
                at += 1
            else:
                want *= shape[j]
                j += 1
        out.extend(_regroup(sources, list(shape[start:j])))
    return out


def _regroup(sources: list[Axis], shape: list[int]) -> list[Axis]:
    if len(sources) == 1 and len(shape) == 1:
        return [sources[0]]
    if all(is_fixed(axis) for axis in sources):
        return [fixed(size) for size in shape]
    sources = [compressed(axis) for axis in sources]
    if len(sources[0]) > 1 and len(shape) == 1 and all(is_fixed(axis) for axis in sources[1:]):
        inner = prod(axis_size(axis) for axis in sources[1:])
        return [tuple(_simple((*run, inner)) for run in sources[0])]
    if len(sources) == 1 and len(sources[0]) > 1 and _equal_parts(sources[0], shape[0]):
        return _regroup(sources, shape)
    if any(len(axis) > 1 for axis in sources):
        return _abandon(sources, shape, "a concatenation is reshaped")
    return _deal([factor for axis in sources for factor in axis[0]], sources, shape)


def _equal_parts(axis: Axis, count: int) -> bool:
    """Make the parts of a concatenation that is taken apart evenly one repeated size, where possible."""
    parts: list[Axis] = []
    rest = axis
    while rest:
        cut = split_axis(rest, axis_size(axis) // count)
        if cut is None:
            return False
        parts.append(cut[0])
        rest = cut[1]
    for part in parts[1:]:
        tie(parts[0], part, "equal parts")
    return len(compressed(axis)) == 1


def _deal(factors: list[Factor], sources: list[Axis], shape: list[int]) -> list[Axis]:
    """Deal the factors out to the axes of ``shape``, splitting those that reach over a border."""
    out: list[Axis] = []
    for size in shape:
        taken: list[Factor] = []
        need = size
        while need > 1:
            has = extent_of(factors[0])
            if has > need and has % need == 0:
                factors[:1] = split_factor(factors[0], need)
                continue
            if need % has:
                return _abandon(sources, shape, "a reshape cuts through it")
            taken.append(factors.pop(0))
            need //= has
        out.append((_simple(taken),))
    return out


def _abandon(sources: Iterable[Axis], shape: Iterable[int], why: str) -> list[Axis]:
    for axis in sources:
        fix(axis, why)
    return [fixed(size) for size in shape]
