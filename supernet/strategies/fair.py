"""Strict fairness."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.strategies.strategy import Context, Lesson, strategies


@strategies.register("fair")
@dataclass(frozen=True)
class Fair:
    """Every value of every choice learns equally often: once in every round of as many lessons as it has values.

    Source: Chu et al., FairNAS, arXiv:1907.01845, where all choices have the same number of values and a step is
    one round. Here a step has as many lessons as the choice with the most values; of a choice with fewer, the
    rest of a round is kept for the next step. A value that its architecture does not use counts all the same.
    """

    def lessons(self, context: Context) -> list[Lesson]:
        """One lesson for each value of the longest choice."""
        space = context.space
        count = max(len(choice.values) for choice in space.choices)
        left: list[list[int]] = context.state.setdefault("left", [[] for _ in space.choices])
        genomes = [[self._next(context, i, left[i]) for i in range(len(space))] for _ in range(count)]
        return [Lesson(space.architecture(genes)) for genes in genomes]

    def _next(self, context: Context, choice: int, left: list[int]) -> int:
        if not left:
            left += range(len(context.space.choices[choice].values))
            context.rng.shuffle(left)
        return left.pop()
