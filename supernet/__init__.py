"""The weight-sharing engine: spaces, elastic networks, training. It knows torch and timm, and no device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from supernet.data import load as load
    from supernet.elastic.elasticise import elasticise as elasticise
    from supernet.elastic.supernet import Supernet as Supernet
    from supernet.errors import SupernetError as SupernetError
    from supernet.evaluate import Evaluator as Evaluator
    from supernet.options import (
        DataOptions as DataOptions,
        SupernetOptions as SupernetOptions,
        TrainOptions as TrainOptions,
    )
    from supernet.space import Architecture as Architecture, Choice as Choice, SearchSpace as SearchSpace
    from supernet.trainer import Trainer as Trainer

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
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
