"""The weight-sharing engine: spaces, elastic networks, training. It knows torch and timm, and no device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from supernet.elastic.elasticise import elasticise as elasticise
    from supernet.elastic.supernet import Supernet as Supernet
    from supernet.errors import SupernetError as SupernetError
    from supernet.evaluate import Evaluator as Evaluator
    from supernet.options import DataOptions as DataOptions
    from supernet.options import SupernetOptions as SupernetOptions
    from supernet.options import TrainOptions as TrainOptions
    from supernet.sources import load_data as load_data
    from supernet.space import Architecture as Architecture
    from supernet.space import Choice as Choice
    from supernet.space import SearchSpace as SearchSpace
    from supernet.trainer import Trainer as Trainer

_MODULES = {
    "elasticise": "supernet.elastic.elasticise",
    "Supernet": "supernet.elastic.supernet",
    "SearchSpace": "supernet.space",
    "Choice": "supernet.space",
    "Architecture": "supernet.space",
    "load_data": "supernet.sources",
    "Trainer": "supernet.trainer",
    "Evaluator": "supernet.evaluate",
    "DataOptions": "supernet.options",
    "SupernetOptions": "supernet.options",
    "TrainOptions": "supernet.options",
    "SupernetError": "supernet.errors",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
