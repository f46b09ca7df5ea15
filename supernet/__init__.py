"""The weight-sharing engine: spaces, elastic networks, training. It knows torch and timm, and no device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from supernet.data import load
    from supernet.elastic.elasticise import elasticise
    from supernet.elastic.supernet import Supernet
    from supernet.errors import SupernetError
    from supernet.evaluate import Evaluator
    from supernet.options import DataOptions, SupernetOptions, TrainOptions
    from supernet.space import Architecture, Choice, SearchSpace
    from supernet.trainer import Trainer

_MODULES = {
    "elasticise": "supernet.elastic.elasticise",
    "Supernet": "supernet.elastic.supernet",
    "SearchSpace": "supernet.space",
    "Choice": "supernet.space",
    "Architecture": "supernet.space",
    "load": "supernet.data",
    "Trainer": "supernet.trainer",
    "Evaluator": "supernet.evaluate",
    "DataOptions": "supernet.options",
    "SupernetOptions": "supernet.options",
    "TrainOptions": "supernet.options",
    "SupernetError": "supernet.errors",
}
__getattr__ = offers(__name__, _MODULES)
__all__ = [  # noqa: RUF022 - in the order one would learn them
    "elasticise",
    "Supernet",
    "SearchSpace",
    "Choice",
    "Architecture",
    "load",
    "Trainer",
    "Evaluator",
    "DataOptions",
    "SupernetOptions",
    "TrainOptions",
    "SupernetError",
]
