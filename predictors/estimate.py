"""What a predictor promises: a number, how sure it is, and in which unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from supernet.errors import SupernetError
from supernet.registry import Registry
from supernet.space import Genes

Values = NDArray[np.float64]

Cost = Callable[[Genes], NDArray[Any]]
"""Genes ``(architectures, choices)`` to an exact cost above zero for each ``(architectures,)``."""


class PredictorError(SupernetError):
    """A predictor that was asked too early, or given too little to learn from."""


@dataclass(frozen=True)
class Estimate:
    """Predicted numbers, each with an interval.

    Args:
        mean: the best guess for each architecture ``(architectures,)``.
        low: lower end of its interval.
        high: upper end of its interval.
        unit: of all three, e.g. ``"ms"``.
        level: share of measurements that should fall inside.
    """

    mean: Values
    low: Values
    high: Values
    unit: str
    level: float


class Predictor(Protocol):
    """Learns one number from a few measured architectures.

    Genes are integers ``(architectures, choices)`` of the space it was made for.
    """

    def fit(self, genes: Genes, measured: Values) -> None:
        """Learn from measured architectures; what was learned before is forgotten.

        Raises:
            PredictorError: for too few or impossible measurements.
        """
        ...

    def predict(self, genes: Genes) -> Estimate:
        """One estimate for each architecture.

        Raises:
            PredictorError: before `fit`.
        """
        ...

    @property
    def options(self) -> dict[str, Any]:
        """The keywords that make an equal predictor, as plain JSON values."""
        ...

    @property
    def learned_from(self) -> tuple[Genes, Values]:
        """Genes and measurements of the last `fit`."""
        ...


predictors: Registry[Callable[..., Predictor]] = Registry(
    "predictor", modules=("predictors.tabular",), group="supernet.predictors"
)
"""Each entry is called with a space, ``macs=`` and ``params=`` (a `Cost` or None), and its own options."""
