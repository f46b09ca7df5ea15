"""A whole run as one picture: the options of every package, section by section; nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass, field

from hardware.options import DeviceOptions, ProfileOptions
from predictors.options import FEWEST
from search.options import SearchOptions
from supernet.errors import ConfigError
from supernet.options import DataOptions, SupernetOptions, TrainOptions


@dataclass(frozen=True)
class ZooOptions:
    """Where chosen subnets are published, and under which terms.

    Args:
        store: a folder or address of a registered store; None is ``zoo`` inside the run.
        licence: SPDX name of the weights' licence.
        data_licence: what the data may be used for, in words or as an SPDX name.
    """

    store: str | None = None
    licence: str = "Apache-2.0"
    data_licence: str = "unknown"


@dataclass(frozen=True)
class PredictOptions:
    """How latencies that were not measured are filled in.

    Args:
        predictor: a registered predictor.
        references: a folder with the profiles of other devices, ``*.json``; with them ten to twenty subnets
            (``profile.subnets``) are enough, and those that tell most are measured.
    """

    predictor: str = "tabular"
    references: str | None = None


@dataclass(frozen=True)
class RunOptions:
    """Everything a run can be told. A TOML file is a picture of this, one table per field.

    Raises:
        ConfigError: for sections that contradict each other.
    """

    data: DataOptions = field(default_factory=DataOptions)
    supernet: SupernetOptions = field(default_factory=SupernetOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    device: DeviceOptions = field(default_factory=DeviceOptions)
    profile: ProfileOptions = field(default_factory=ProfileOptions)
    predict: PredictOptions = field(default_factory=PredictOptions)
    search: SearchOptions = field(default_factory=SearchOptions)
    zoo: ZooOptions = field(default_factory=ZooOptions)

    def __post_init__(self) -> None:
        if self.profile.subnets < FEWEST:
            raise ConfigError(
                f"profile.subnets is {self.profile.subnets}; a predictor is learnt and tested on what was "
                f"measured, which needs at least {FEWEST}"
            )
