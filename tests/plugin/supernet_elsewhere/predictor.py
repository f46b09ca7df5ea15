"""A predictor: the one of the house, with wider intervals."""

from __future__ import annotations

from typing import Any

from predictors.tabular import Tabular


class Wider(Tabular):
    """Ninety-five of a hundred."""

    def __init__(self, space: Any, *, level: float = 0.95, **options: Any) -> None:
        super().__init__(space, level=level, **options)
