"""How far off a predictor is on measured architectures it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from predictors.estimate import Archs, Estimate, Predictor, PredictorError, Values
from predictors.options import FOLDS


@dataclass(frozen=True)
class Validation:
    """Errors of predictions for architectures that were left out of the learning.

    Args:
        mape: mean of the absolute error, as a share of what was measured.
        median_ape: its median.
        spearman: rank correlation of predicted and measured; nan when all are equal.
        kendall: the other one: how many pairs more are in the right order than in the wrong one, as a share.
        within_5: share that was off by at most a twentieth.
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
    kendall: float
    within_5: float
    within_10: float
    coverage: float
    level: float
    reach: float
    count: int
    folds: int

    def __str__(self) -> str:
        return (
            f"mean error {self.mape:.1%}, {self.within_5:.0%} within 5 % and {self.within_10:.0%} within "
            f"10 %, Spearman {self.spearman:.3f}, Kendall {self.kendall:.3f}, "
            f"{self.coverage:.0%} inside their {self.level:.0%} intervals "
            f"({self.count} measured subnets, each predicted without its own measurement)"
        )


@dataclass(frozen=True)
class Region:
    """The errors of one part of what was predicted, from the fastest to the slowest.

    Args:
        low: its smallest measurement.
        high: its largest.
        mape: mean of the absolute error, as a share of what was measured.
        bias: median of predicted over measured, less one: above zero where too much is predicted.
        coverage: share of the measurements inside their interval.
        count: how many there are.
    """

    low: float
    high: float
    mape: float
    bias: float
    coverage: float
    count: int


REGIONS = ("lowest", "middle", "highest")


def by_region(found: Estimate, measured: Values) -> list[Region]:
    """The errors in each third of the measurements: a predictor that is right on average may be off at one end.

    Args:
        found: of predictors that had not seen them, see `held_out`.
        measured: what was measured, in the same order; at least one for each region.
    """
    regions = []
    for rows in np.array_split(np.argsort(measured, kind="stable"), len(REGIONS)):
        true, off = measured[rows], found.mean[rows] / measured[rows] - 1
        inside = (true >= found.low[rows]) & (true <= found.high[rows])
        regions.append(
            Region(
                float(true[0]), float(true[-1]), float(np.abs(off).mean()), float(np.median(off)),
                float(inside.mean()), len(rows),
            )
        )  # fmt: skip
    return regions


def held_out(
    fresh: Callable[[], Predictor],
    archs: Archs,
    measured: Values,
    noise: Values | None = None,
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
        archs: the architectures measured.
        measured: what was measured ``(architectures,)``.
        noise: standard deviation of each measurement, where it is known.
        level: the level the intervals must have; whatever the predictor gives when None.
        folds: how many.
        seed: of the split.

    Returns:
        One estimate for each architecture, in the order given.

    Raises:
        PredictorError: for too few measurements to split, or intervals of another level than asked.
    """
    if len(archs) < 2 * folds:
        raise PredictorError(
            f"{len(archs)} measurements cannot be split into {folds} folds; measure {2 * folds}"
        )
    order = np.random.default_rng(seed).permutation(len(archs))
    mean, low, high, sd = (np.zeros(len(archs)) for _ in range(4))
    for fold in np.array_split(order, folds):
        rest = np.setdiff1d(order, fold)
        predictor = fresh()
        predictor.fit(_some(archs, rest), measured[rest], None if noise is None else noise[rest])
        found = predictor.predict(_some(archs, fold))
        if level is not None and abs(found.level - level) > 1e-9:
            raise PredictorError(
                f"intervals of level {level} were asked for; the predictor gives {found.level}"
            )
        level = found.level
        mean[fold], low[fold], high[fold], sd[fold] = found.mean, found.low, found.high, found.sd
    return Estimate(mean, low, high, sd, found.unit, found.level)


def _some(archs: Archs, which: NDArray[np.int64]) -> Archs:
    return archs[which] if isinstance(archs, np.ndarray) else [archs[i] for i in which]


def validate(
    fresh: Callable[[], Predictor],
    archs: Archs,
    measured: Values,
    noise: Values | None = None,
    *,
    level: float | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> Validation:
    """The figures of `held_out`, whose arguments and errors these are."""
    found = held_out(fresh, archs, measured, noise, level=level, folds=folds, seed=seed)
    return compare(found, measured, folds=folds)


def compare(found: Estimate, measured: Values, *, folds: int = 1) -> Validation:
    """The same figures for predictions that were made before, e.g. for the front that was re-measured."""
    mean = found.mean
    off = np.abs(mean / measured - 1)
    ranked = len(set(mean)) > 1 and len(set(measured)) > 1
    return Validation(
        mape=float(off.mean()),
        median_ape=float(np.median(off)),
        spearman=float(spearmanr(mean, measured).statistic) if ranked else np.nan,
        kendall=float(kendalltau(mean, measured).statistic) if ranked else np.nan,
        within_5=float((off <= 0.05).mean()),
        within_10=float((off <= 0.1).mean()),
        coverage=float(((measured >= found.low) & (measured <= found.high)).mean()),
        level=found.level,
        reach=float(np.median((found.high - found.low) / 2 / mean)),
        count=len(measured),
        folds=folds,
    )
