"""What a predictor is told of an architecture: exact costs, and columns that say how it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.estimate import Cost, Predictor, Values
from supernet.encoding import Encoding
from supernet.space import Genes, SearchSpace

Describe = Callable[[Genes], Values]
"""Genes ``(architectures, choices)`` to columns ``(architectures, columns)``."""


@dataclass(frozen=True)
class Table:
    """What a model sees of some architectures.

    Args:
        costs: logarithms of exact costs ``(architectures, costs)``; the first is what a line is drawn over.
        depths: the numbers that other choices need ``(architectures, depths)``: how much of each stage there is, 0
            where that does not matter. A few columns that say most of what costs do not, of a device whose time is
            launches more than multiply-adds.
        features: how they are made ``(architectures, features)``.
        elsewhere: logarithms of what other devices are predicted to need ``(architectures, devices)``.
    """

    costs: Values
    depths: Values
    features: Values
    elsewhere: Values

    def __len__(self) -> int:
        return len(self.features)

    @property
    def blocks(self) -> tuple[Values, ...]:
        """What others need, costs, depths and features."""
        return self.elsewhere, self.costs, self.depths, self.features

    @property
    def everything(self) -> Values:
        """Them side by side ``(architectures, columns)``; costs repeated until they are a seventh of the features.

        What an architecture costs says more than any one choice. From 50 accuracies, ranks are .910 instead of .907.
        """
        times = max(1, self.features.shape[1] // (6 * self.costs.shape[1]))
        return np.hstack([self.elsewhere, np.repeat(self.costs, times, axis=1), self.features])

    def rows(self, which: NDArray[np.int64]) -> Table:
        """Some of the architectures."""
        return Table(self.costs[which], self.depths[which], self.features[which], self.elsewhere[which])


class Columns:
    """From genes to a `Table`.

    Args:
        space: of the genes.
        macs: exact multiply-adds, where they are known.
        params: exact parameters, where they are known.
        features: columns that describe an architecture; `Encoding.ordinal` when None.
        references: predictors of the same number on other devices, by name.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        macs: Cost | None = None,
        params: Cost | None = None,
        features: Describe | None = None,
        references: Mapping[str, Predictor] | None = None,
    ) -> None:
        self._costs = [cost for cost in (macs, params) if cost is not None]
        self.references = dict(references or {})
        self._describe: Describe = features or Encoding(space).ordinal
        self._space = space
        needed = {space.index(choice.needs[0]) for choice in space.choices if choice.needs}
        self._depths = {
            i: np.array(space.choices[i].values, dtype=np.float64)
            for i in sorted(needed)
            if not any(isinstance(value, str) for value in space.choices[i].values)
        }

    def table(self, genes: Genes) -> Table:
        """Of canonical genes ``(architectures, choices)``; without costs, the mean of the features is one."""
        features = np.asarray(self._describe(genes), dtype=np.float64)
        costs = [np.log(np.asarray(cost(genes), dtype=np.float64)) for cost in self._costs]
        others = [np.log(other.predict(genes).mean) for other in self.references.values()]
        nowhere = np.zeros((len(genes), 0))
        return Table(
            np.stack(costs or [features.mean(1)], axis=1),
            self._depths_of(genes),
            features,
            np.stack(others, axis=1) if others else nowhere,
        )

    def _depths_of(self, genes: Genes) -> Values:
        found = np.zeros((len(genes), len(self._depths)))
        if self._depths:
            matters = self._space.matters(genes)
            for column, (i, values) in enumerate(self._depths.items()):
                found[:, column] = values[genes[:, i]] * matters[:, i]
        return found
