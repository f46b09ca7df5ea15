"""Everything that ``--set`` can set, and the names that some of it can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from supernet.settings import Setting, arguments_of, settings_of
from zoo.pipeline.options import RunOptions

MODEL, STRATEGY = "supernet.options", "train.strategy_options"
OF_ELASTICISE = frozenset({"model", "example", "args", "kwargs", "batch_axis"})
"""What is not for a configuration file to say."""


def run_settings() -> list[Setting]:
    """Every option of a run, section by section; what depends on a name is in `named_settings`."""
    return list(settings_of(RunOptions))


def named_settings() -> dict[str, dict[str, list[Setting]]]:
    """The options of what a run names: by their section, then by that name.

    ``{"train.strategy_options": {"sandwich": [...]}, ...}``; `MODEL` has the presets, the networks, and ``any other``
    for networks of timm, which are made elastic.
    """
    from supernet.elastic.elasticise import elasticise
    from supernet.networks import networks
    from supernet.presets import presets
    from supernet.strategies import strategies

    def dataclass_at(kind: Any, where: str) -> list[Setting]:
        """The options of a registered dataclass."""
        return list(settings_of(cast(type[Any], kind), where))

    models = {name: dataclass_at(presets[name], MODEL) for name in presets}
    models |= {name: list(arguments_of(networks[name], MODEL)) for name in networks}
    conversion = [
        setting
        for setting in arguments_of(elasticise, MODEL)
        if setting.key.removeprefix(f"{MODEL}.") not in OF_ELASTICISE
    ]
    return {
        MODEL: models | {"any other": conversion},
        STRATEGY: {name: dataclass_at(strategies[name], STRATEGY) for name in strategies},
    }


def names_for(key: str) -> list[str]:
    """The names that an option can be; none for an option that is not a name."""
    return list(_NAMES[key]()) if key in _NAMES else []


def _sources() -> Iterator[str]:
    from supernet.sources import sources

    yield from sources


def _models() -> Iterator[str]:
    import timm

    from supernet.networks import networks
    from supernet.presets import presets

    yield from (*presets, *networks, *timm.list_models())


def _optimizers() -> Iterator[str]:
    from timm.optim import list_optimizers

    yield from list_optimizers()


def _schedules() -> Iterator[str]:
    from supernet.recipe import SCHEDULES

    yield from SCHEDULES


def _strategies() -> Iterator[str]:
    from supernet.strategies import strategies

    yield from strategies


def _devices() -> Iterator[str]:
    from supernet.recipe import devices

    yield from devices()


def _runtimes() -> Iterator[str]:
    from hardware.runners import runtimes

    yield from runtimes


def _predictors() -> Iterator[str]:
    from predictors import predictors

    yield from predictors


def _searchers() -> Iterator[str]:
    from search.searcher import searchers

    yield from searchers


_NAMES: Mapping[str, Callable[[], Iterator[str]]] = {
    "data.source": _sources,
    "supernet.model": _models,
    "train.optimizer": _optimizers,
    "train.schedule": _schedules,
    "train.strategy": _strategies,
    "train.device": _devices,
    "device.runtime": _runtimes,
    "predict.predictor": _predictors,
    "search.searcher": _searchers,
}
