"""From tens of measurements to an estimate with an interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from predictors.estimate import Estimate as Estimate, Predictor as Predictor, predictors as predictors
    from predictors.tabular import Tabular as Tabular

_MODULES = {
    "predictors": "predictors.estimate",
    "Tabular": "predictors.tabular",
    "Predictor": "predictors.estimate",
    "Estimate": "predictors.estimate",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
