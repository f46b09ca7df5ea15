"""What a predictor promises: a number, how sure it is, and in which unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from supernet.errors import ArchitectureError, SupernetError
from supernet.registry import Registry
from supernet.space import Architecture, Genes, SearchSpace

Values = NDArray[np.float64]

Archs = Genes | Sequence[Architecture]
"""Architectures, or their genes ``(architectures, choices)``."""

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
        sd: how far off a measurement is expected to be, as a standard deviation; the interval may be wider or
            narrower than a bell curve's of that spread.
        unit: of all four, e.g. ``"ms"``.
        level: share of measurements that should fall inside.
    """

    mean: Values
    low: Values
    high: Values
    sd: Values
    unit: str
    level: float


@dataclass(frozen=True)
class Measured:
    """What a predictor learns from.

    Args:
        genes: canonical ``(architectures, choices)``.
        values: what was measured ``(architectures,)``.
        noise: standard deviation of each measurement in the unit of the values, where it is known.
    """

    genes: Genes
    values: Values
    noise: Values | None = None


class Predictor(Protocol):
    """Learns one number from a few measured architectures of the space it was made for."""

    def fit(self, archs: Archs, values: Values, noise: Values | None = None) -> None:
        """Learn from measured architectures; what was learned before is forgotten.

        Args:
            archs: what was measured.
            values: one number for each.
            noise: standard deviation of each measurement, in the unit of the values.

        Raises:
            ArchitectureError: for architectures of another space.
            PredictorError: for too few or impossible measurements.
        """
        ...

    def predict(self, archs: Archs) -> Estimate:
        """One estimate for each architecture.

        Raises:
            ArchitectureError: for architectures of another space.
            PredictorError: before `fit`.
        """
        ...

    @property
    def options(self) -> dict[str, Any]:
        """The keywords that make an equal predictor, as plain JSON values."""
        ...

    @property
    def learned_from(self) -> Measured:
        """The measurements of the last `fit`."""
        ...

    @property
    def model(self) -> str:
        """What the last `fit` settled on, in a few words for people: ``"Gaussian process 0.7, line 0.3"``."""
        ...


class Learner:
    """What our predictors have in common: what they were made for, and the measurements of the last `fit`.

    Raises:
        PredictorError: for a level that is not between 0 and 1.
    """

    def __init__(self, space: SearchSpace, unit: str, level: float) -> None:
        if not 0 < level < 1:
            raise PredictorError(f"an interval of level {level} was asked for; a level lies between 0 and 1")
        self.space, self.unit, self.level = space, unit, level
        self._measured: Measured | None = None

    @property
    def learned_from(self) -> Measured:
        """The measurements of the last `fit`.

        Raises:
            PredictorError: before `fit`.
        """
        if self._measured is None:
            raise PredictorError("nothing was learned yet; call fit(archs, values) first")
        return self._measured


predictors: Registry[Callable[..., Predictor]] = Registry(
    "predictor",
    modules=[f"predictors.{name}" for name in ("tabular", "process", "graph_kernel", "graph_network")],
    group="supernet.predictors",
)
"""Each entry is called with a space, ``macs=`` and ``params=`` (a `Cost` or None), and its own options; where there
are predictors of other devices, with ``references=`` too (by name)."""


def genes_of(space: SearchSpace, archs: Archs) -> Genes:
    """Canonical genes ``(architectures, choices)`` of architectures or of genes.

    Raises:
        ArchitectureError: for architectures of another space, or genes that are none of this one.
    """
    if not isinstance(archs, np.ndarray):
        return space.matrix(archs)
    last = np.array([len(choice.values) - 1 for choice in space.choices])
    if archs.ndim != 2 or archs.shape[1] != len(space) or not np.issubdtype(archs.dtype, np.integer):
        raise ArchitectureError(
            f"genes of shape {archs.shape} and type {archs.dtype} are not of this space; they are integers "
            f"(architectures, {len(space)})"
        )
    wrong = np.argwhere((archs < 0) | (archs > last))
    if len(wrong):
        row, column = wrong[0]
        choice = space.choices[column]
        raise ArchitectureError(
            f"gene {archs[row, column]} of {choice.name!r} is outside 0 to {last[column]} (values {choice.values})"
        )
    return space.canonical(archs)


def measured(
    space: SearchSpace,
    archs: Archs,
    values: Values,
    noise: Values | None,
    *,
    fewest: int,
    unit: str,
    positive: bool,
) -> Measured:
    """What was given to `Predictor.fit`, checked.

    Raises:
        ArchitectureError: for architectures of another space.
        PredictorError: for fewer than ``fewest`` measurements, numbers that are not finite or, where they have to
            be, not positive, or lengths that differ.
    """
    genes, values = genes_of(space, archs), np.asarray(values, dtype=np.float64)
    if len(genes) < fewest or values.shape != (len(genes),):
        raise PredictorError(
            f"{len(genes)} architectures with {values.size} measurements are too few to learn from; "
            f"measure at least {fewest}, each once"
        )
    impossible = ~np.isfinite(values) | ((values <= 0) & positive)
    if impossible.any():
        raise PredictorError(
            f"a measurement of {values[impossible][0]} {unit} is not {'positive' if positive else 'finite'}; "
            f"measure it again or leave it out"
        )
    if noise is not None:
        noise = np.asarray(noise, dtype=np.float64)
        if noise.shape != values.shape or not np.isfinite(noise).all() or (noise < 0).any():
            raise PredictorError(
                f"the noise of {len(values)} measurements is one standard deviation in {unit} for each, zero or more"
            )
    return Measured(genes, values, noise)
