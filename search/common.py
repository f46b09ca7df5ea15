"""What the networks of a front have in common: where in its range each group of choices lies, and its usual value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.objective import Values
from supernet.space import Architecture, Genes, SearchSpace, Value

MOST = 0.8
"""From which share on networks are said to have a value in common."""


@dataclass(frozen=True)
class Trait:
    """One kind of choices in one stage, over some networks.

    Args:
        stage: where the choices are.
        kind: what they choose: ``kernel``, ``width``, ``depth``.
        values: what they can be, ascending as the space lists them.
        place: of each network, how far up its values it is on average, 0 the first and 1 the last ``(networks,)``;
            NaN where the network has none of these choices.
        usual: the value that is chosen most often; None where no network has these choices.
        share: how often, of all that is chosen.
    """

    stage: str
    kind: str
    values: tuple[Value, ...]
    place: Values
    usual: Value | None
    share: float

    @property
    def is_common(self) -> bool:
        """Whether nearly all is chosen alike."""
        return self.share >= MOST

    def __str__(self) -> str:
        return f"{self.usual} ({self.share:.0%})" if self.usual is not None else "left out"


def traits(
    space: SearchSpace, archs: Sequence[Architecture], groups: Mapping[tuple[str, str], Sequence[str]]
) -> list[Trait]:
    """What networks have in common, group by group.

    Args:
        archs: at least one, in the order in which they are to be shown.
        groups: the names of choices by stage and kind (`supernet.stages.choices_by_stage`).
    """
    genes = space.matrix(archs)
    live = space.matters(genes)
    return [_trait(space, genes, live, *key, names) for key, names in groups.items()]


def _trait(
    space: SearchSpace, genes: Genes, live: NDArray[np.bool_], stage: str, kind: str, names: Sequence[str]
) -> Trait:
    columns = [space.index(name) for name in names]
    choices = [space.choices[i] for i in columns]
    most = np.array([len(choice.values) - 1 for choice in choices])
    places = np.where(live[:, columns], genes[:, columns] / np.maximum(most, 1), 0.0)
    count = live[:, columns].sum(axis=1)
    place = np.where(count > 0, places.sum(axis=1) / np.maximum(count, 1), np.nan)
    rows, where = np.nonzero(live[:, columns])
    chosen = Counter(choices[j].values[genes[i, columns[j]]] for i, j in zip(rows, where))
    usual, often = chosen.most_common(1)[0] if chosen else (None, 0)
    values = tuple(dict.fromkeys(value for choice in choices for value in choice.values))
    return Trait(stage, kind, values, place, usual, often / max(chosen.total(), 1))
