"""How far off a predictor is on measured architectures it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from predictors.estimate import Estimate, Predictor, PredictorError, Values
from predictors.options import FOLDS
from supernet.space import Genes


@dataclass(frozen=True)
class Validation:
    """Errors of predictions for architectures that were left out of the learning.

    Args:
        mape: mean of the absolute error, as a share of what was measured.
        median_ape: its median.
        spearman: rank correlation of predicted and measured; nan when all are equal.
        within_10: share that was off by at most a tenth.
        coverage: share of the measurements inside their interval.
        level: the share that was promised.
        reach: median of the half interval, as a share of the prediction.
        count: how many architectures were predicted.
        folds: how many times the predictor learned anew.
    """

    mape: float
    median_ape: float
    spearman: float
    within_10: float
    coverage: float
    level: float
    reach: float
    count: int
    folds: int

    def __str__(self) -> str:
        return (
            f"mean error {self.mape:.1%}, {self.within_10:.0%} within 10 %, Spearman {self.spearman:.3f}, "
            f"{self.coverage:.0%} inside their {self.level:.0%} intervals "
            f"({self.count} measured subnets, each predicted without its own measurement)"
        )


def held_out(
    fresh: Callable[[], Predictor],
    genes: Genes,
    measured: Values,
    *,
    level: float | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> Estimate:
    """Cross-validate: every architecture is predicted by a predictor that has not seen it.

    Everything a predictor learns is learned within the fold, the choice of its model and the width of its
    intervals too; so these errors are a little larger than those of the final predictor, which sees all.

    Args:
        fresh: makes the predictor, anew for every fold.
        genes: the architectures measured ``(architectures, choices)``.
        measured: what was measured ``(architectures,)``.
        level: the level the intervals must have; whatever the predictor gives when None.
        folds: how many.
        seed: of the split.

    Returns:
        One estimate for each architecture, in the order given.

    Raises:
        PredictorError: for too few measurements to split, or intervals of another level than asked.
    """
    if len(genes) < 2 * folds:
        raise PredictorError(
            f"{len(genes)} measurements cannot be split into {folds} folds; measure {2 * folds}"
        )
    order = np.random.default_rng(seed).permutation(len(genes))
    mean, low, high = (np.zeros(len(genes)) for _ in range(3))
    for fold in np.array_split(order, folds):
        rest = np.setdiff1d(order, fold)
        predictor = fresh()
        predictor.fit(genes[rest], measured[rest])
        found = predictor.predict(genes[fold])
        if level is not None and abs(found.level - level) > 1e-9:
            raise PredictorError(
                f"intervals of level {level} were asked for; the predictor gives {found.level}"
            )
        level = found.level
        mean[fold], low[fold], high[fold] = found.mean, found.low, found.high
    return Estimate(mean, low, high, found.unit, found.level)


def validate(
    fresh: Callable[[], Predictor],
    genes: Genes,
    measured: Values,
    *,
    level: float | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> Validation:
    """The figures of `held_out`, whose arguments and errors these are."""
    found = held_out(fresh, genes, measured, level=level, folds=folds, seed=seed)
    return compare(found.mean, found.low, found.high, measured, level=found.level, folds=folds)


def compare(
    mean: Values, low: Values, high: Values, measured: Values, *, level: float, folds: int = 1
) -> Validation:
    """The same figures for predictions that were made before, e.g. for the front that was re-measured."""
    off = np.abs(mean / measured - 1)
    rank = spearmanr(mean, measured).statistic if len(set(mean)) > 1 and len(set(measured)) > 1 else np.nan
    return Validation(
        mape=float(off.mean()),
        median_ape=float(np.median(off)),
        spearman=float(rank),
        within_10=float((off <= 0.1).mean()),
        coverage=float(((measured >= low) & (measured <= high)).mean()),
        level=level,
        reach=float(np.median((high - low) / 2 / mean)),
        count=len(measured),
        folds=folds,
    )
