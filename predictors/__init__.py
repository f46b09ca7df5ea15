"""From tens of measurements to an estimate with an interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from predictors.estimate import Estimate, Predictor, predictors
    from predictors.tabular import Tabular

_MODULES = {
    "predictors": "predictors.tabular",
    "Tabular": "predictors.tabular",
    "Predictor": "predictors.estimate",
    "Estimate": "predictors.estimate",
}
__getattr__ = offers(__name__, _MODULES)
__all__ = [  # noqa: RUF022 - in the order one would learn them
    "predictors",
    "Tabular",
    "Predictor",
    "Estimate",
]
