"""A predictor: the one of the house, with half as many folds."""

from __future__ import annotations

from typing import Any

from predictors.tabular import Tabular


class Fewer(Tabular):
    """Five folds."""

    def __init__(self, space: Any, *, folds: int = 5, **options: Any) -> None:
        super().__init__(space, folds=folds, **options)
