"""Comparisons of sizes that would go otherwise in some subnet: which sizes to fix so that none does.

``x + y if x.shape == y.shape else y`` adds nothing between 64 and 96 channels, and something as soon
as both are 56. Running a few cuts does not show that. But how the compared integers depend on the
widths can be seen from a few runs, and then all widths be gone through without running anything.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from itertools import product
from math import prod

from supernet.elastic.layout import Sizes
from supernet.elastic.watching import COMPARISONS, Question

MOST_RUNS = 36
"""Where integers depend on the widths in another way than as a sum, up to so many widths are run."""
Ask = Callable[[Sizes], Sequence[Question]]
Tables = Mapping[str, Sequence[int]]


def undecided(ask: Ask, tables: Tables) -> dict[str, str]:
    """The groups to fix, so that every comparison of sizes goes as in the largest network, with reasons.

    Args:
        ask: from the units of every group to what the network compares then.
        tables: of every group the units it can have; the most are those of the largest network.
    """
    full = {name: max(values) for name, values in tables.items()}
    whole = ask(full)
    several = {name: sorted(set(values)) for name, values in tables.items() if len(set(values)) > 1}
    probes = [full | {name: min(values) for name, values in several.items()}]
    for step in (1, 2):
        spread = enumerate(several.items())
        probes.append(full | {name: values[(step * i) % len(values)] for i, (name, values) in spread})
    answers = [ask(probe) for probe in probes]
    open_ones = [i for i in range(len(whole)) if _may_go_otherwise(i, whole, answers)]
    if not open_ones:
        return {}
    alone = {name: ask(full | {name: min(values)}) for name, values in several.items()}
    job = _Decisions(ask, full, several, whole, list(zip(probes, answers)), alone)
    fixed: dict[str, str] = {}
    for i in open_ones:
        for name in job.to_fix(i, fixed.keys()):
            fixed[name] = f"the network compares it ({whole[i].where}), and may go another way when it is cut"
    return fixed


def _may_go_otherwise(i: int, whole: Sequence[Question], answers: Sequence[Sequence[Question]]) -> bool:
    """Whether the compared integers depend on the widths, and are not simply one and the same."""
    found = [whole[i], *(answer[i] for answer in answers if i < len(answer))]
    if all((q.left, q.right, q.roots) == (whole[i].left, whole[i].right, whole[i].roots) for q in found):
        return False
    return any(q.roots or q.left != q.right for q in found)


class _Decisions:
    """What is known about how the compared integers depend on the widths."""

    def __init__(
        self,
        ask: Ask,
        full: dict[str, int],
        tables: Tables,
        whole: Sequence[Question],
        probes: Sequence[tuple[Sizes, Sequence[Question]]],
        alone: Mapping[str, Sequence[Question]],
    ) -> None:
        self.ask, self.full, self.tables, self.whole = ask, full, tables, whole
        self.probes, self.alone = probes, alone

    def to_fix(self, i: int, fixed: Container[str]) -> list[str]:
        """Groups without which one comparison goes as in the largest network: one if that is enough."""
        free = [name for name in self.alone if self._depends(i, name) and name not in fixed]
        if not free or not self._flips(i, free):
            return []
        for name in reversed(free):
            if not self._flips(i, [other for other in free if other != name]):
                return [name]
        return free

    def _depends(self, i: int, name: str) -> bool:
        other = self.alone[name][i] if i < len(self.alone[name]) else None
        mine = self.whole[i]
        return other is None or (other.left, other.right, other.roots) != (mine.left, mine.right, mine.roots)

    def _flips(self, i: int, free: Sequence[str]) -> bool:
        """Whether some widths of the free groups let a comparison go otherwise."""
        question = self.whole[i]
        slopes = self._slopes(i)
        if slopes is not None:
            apart = {float(question.left - question.right)}
            for name in free:
                steps = {slopes[name] * (size - self.full[name]) for size in self.tables[name]}
                apart = {value + step for value in apart for step in steps}
            compare = COMPARISONS[question.how]
            return any(bool(compare(value, 0)) != question.answer for value in apart)
        if prod(len(self.tables[name]) for name in free) > MOST_RUNS:
            return True
        return any(i >= len(answer) or answer[i].answer != question.answer for answer in self._answers(free))

    def _answers(self, free: Sequence[str]) -> Iterator[Sequence[Question]]:
        for sizes in product(*(self.tables[name] for name in free)):
            yield self.ask(self.full | dict(zip(free, sizes)))

    def _slopes(self, i: int) -> dict[str, float] | None:
        """By how much the difference of the two integers grows with a unit; None when that is not all."""
        question = self.whole[i]
        if question.roots or any(i >= len(found) for found in self.alone.values()):
            return None
        slopes = {
            name: ((found[i].left - found[i].right) - (question.left - question.right))
            / (min(self.tables[name]) - self.full[name])
            for name, found in self.alone.items()
        }
        for sizes, answer in self.probes:
            expected = (
                question.left
                - question.right
                + sum(slope * (sizes[name] - self.full[name]) for name, slope in slopes.items())
            )
            if i >= len(answer) or abs(answer[i].left - answer[i].right - expected) > 1e-6:
                return None
        return slopes
