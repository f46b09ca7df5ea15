"""Everything that ``--set`` can set, and the names that some of it can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from supernet.errors import ConfigError, did_you_mean
from supernet.settings import Setting, arguments_of, settings_of
from zoo.pipeline.options import RunOptions

MODEL, STRATEGY = "supernet.options", "train.strategy_options"
OF_ELASTICISE = frozenset({"model", "example", "args", "kwargs", "batch_axis"})
"""What is not for a configuration file to say."""


@dataclass(frozen=True)
class Found:
    """Settings that somebody asked for.

    Args:
        rows: the settings.
        names: what the value of the only one can be, where that is a name.
    """

    rows: list[Setting]
    names: list[str]


def find_settings(start: str = "") -> Found:
    """The options whose key begins like this; all that every run has when nothing is given.

    Raises:
        ConfigError: when none does.
    """
    rows = [setting for setting in run_settings() if setting.key.startswith(start)]
    if start.startswith((MODEL, STRATEGY)):
        rows += [setting for setting in named_settings() if setting.key.startswith(start)]
    if not rows:
        known = [setting.key for setting in run_settings()]
        raise ConfigError(f"no option begins with {start!r}{did_you_mean(start, known)}")
    return Found(rows, names_for(rows[0].key) if len(rows) == 1 else [])


def run_settings() -> list[Setting]:
    """Every option of a run, section by section; what depends on a name is in `named_settings`."""
    return list(settings_of(RunOptions))


def named_settings() -> list[Setting]:
    """The options of what a run names: of every strategy, preset and network, and of networks made elastic."""
    from supernet.elastic.elasticise import elasticise
    from supernet.networks import networks
    from supernet.presets import presets
    from supernet.strategies import strategies

    found = [(name, settings_of(_class(strategies[name]), STRATEGY)) for name in strategies]
    found += [(name, settings_of(_class(presets[name]), MODEL)) for name in presets]
    found += [(name, arguments_of(networks[name], MODEL)) for name in networks]
    found += [("any other", arguments_of(elasticise, MODEL, leave_out=OF_ELASTICISE))]
    return [replace(setting, of=name) for name, rows in found for setting in rows]


def _class(registered: Any) -> type[Any]:
    return cast(type[Any], registered)


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


def _pools() -> Iterator[str]:
    from search.workers import workers

    yield from workers


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
    "search.pool": _pools,
}
