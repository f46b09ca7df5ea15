"""What every preset offers, and the registry that knows them all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from supernet.config import decode
from supernet.elastic.origins import makers
from supernet.elastic.plan import Plan
from supernet.elastic.supernet import Supernet
from supernet.errors import ArchitectureError, SpaceError, did_you_mean
from supernet.registry import Registry
from supernet.seeds import derive
from supernet.space import Architecture, SearchSpace


class Preset(Protocol):
    """A published supernet: a space, its largest network and the names its authors gave things."""

    @property
    def space(self) -> SearchSpace:
        """What can be chosen; needs no network."""

    def supernet(self) -> Supernet:
        """The supernet, freshly initialised."""

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """The architecture that the reference's own dictionary describes; what it skips may hold anything.

        Raises:
            ArchitectureError: when the dictionary lacks a key or holds a value outside the space.
        """

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """The reference's own dictionary for an architecture."""


@dataclass(frozen=True, kw_only=True)
class PlannedPreset(ABC):
    """A preset made of its largest network and the plan for it.

    Args:
        channels: of the images.
        resolution: their side in pixels; `example` has it, so costs are those of it unless asked.
        seed: of the initial weights.
    """

    instead: ClassVar[str] = ""
    """What to do where its authors published no weights of the supernet, as part of an error message."""

    channels: int = 3
    resolution: int = 224
    seed: int = 0

    @abstractmethod
    def network(self) -> nn.Module:
        """The largest network, freshly initialised, of plain modules."""

    @abstractmethod
    def plan(self, network: nn.Module) -> Plan:
        """Which slices of it an architecture uses."""

    @property
    def example(self) -> tuple[int, ...]:
        """Shape of one input, batch first."""
        return 1, self.channels, self.resolution, self.resolution

    def supernet(self) -> Supernet:
        """The supernet, freshly initialised from the seed."""
        with torch.random.fork_rng():
            torch.manual_seed(derive(self.seed, "weights"))
            network = self.network()
        return Supernet(network, self.plan(network), example=self.example, origin=origin(self))


class OwnReference(ABC):
    """A preset of ours: its architectures are written down as the values of its choices."""

    @property
    @abstractmethod
    def space(self) -> SearchSpace:
        """What can be chosen."""

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """The architecture of these values; this preset is its own reference.

        Raises:
            ArchitectureError: for a missing choice, an unknown one or a value outside it.
        """
        return self.space.encode(config)

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """The values of an architecture by the names of its choices."""
        return dict(self.space.decode(arch))


presets: Registry[Callable[..., Preset]] = Registry(
    "preset",
    modules=(
        "supernet.presets.attentivenas",
        "supernet.presets.autoformer",
        "supernet.presets.darts",
        "supernet.presets.matformer",
        "supernet.presets.mixpath",
        "supernet.presets.mobile",
        "supernet.presets.nasbench201",
        "supernet.presets.ofa",
        "supernet.presets.ofa_resnet",
        "supernet.presets.proxylessnas",
        "supernet.presets.rev_mobile",
        "supernet.presets.rev_resnet",
        "supernet.presets.rev_split",
        "supernet.presets.rev_unet3d",
        "supernet.presets.rev_vit",
        "supernet.presets.revcol",
        "supernet.presets.single_path",
        "supernet.presets.spos",
        "supernet.presets.vit_resnas",
    ),
    group="supernet.presets",
)
"""Presets by name; each is a fixed dataclass whose fields are its options."""


def origin(preset: Any) -> dict[str, Any]:
    """How to make a preset's largest network again: its name and the options changed, as JSON values."""
    name = next(name for name in presets if presets[name] is type(preset))
    options = {option.name: getattr(preset, option.name) for option in fields(preset)}
    changed = {f.name: _plain(options[f.name]) for f in fields(preset) if options[f.name] != f.default}
    # The weights are stored; where they first came from no longer matters.
    changed.pop("pretrained", None)
    return {"preset": name, "kwargs": changed}


@makers.register("preset")
def rebuilt(made: Mapping[str, Any]) -> nn.Module:
    """The largest network, freshly made as `origin` says, of plain modules.

    Raises:
        SupernetError: when no preset has that name.
        ConfigError: for options it does not have.
    """
    network: nn.Module = decode(made["kwargs"], presets[made["preset"]], "origin").network()  # type: ignore[attr-defined]
    return network


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def from_count(choice: str, counts: tuple[int, ...], i: int) -> tuple[str, tuple[int, ...]] | None:
    """What the choices of the i-th of some blocks need: a count that reaches it; None where every count does."""
    reaching = tuple(count for count in counts if count > i)
    return (choice, reaching) if reaching != counts else None


def need_blocks(what: str, depths: Sequence[int]) -> None:
    """Refuse stages without a block: what comes after them would meet another width.

    Raises:
        SpaceError: when there is no depth, or the least is below 1.
    """
    if not depths or min(depths) < 1:
        raise SpaceError(f"{what} is {tuple(depths)}; every stage needs at least one block, e.g. (2, 3, 4)")


def asked(config: Mapping[str, Any], key: str, count: int | None = None, most: int | None = None) -> Any:
    """One entry of a reference's dictionary.

    Args:
        count: how many values its list has to hold; None for any.
        most: how many it may hold, where the reference pads such lists; None for ``count``.

    Raises:
        ArchitectureError: when it is missing, no list, too short or too long.
    """
    if key not in config:
        raise ArchitectureError(f"the dictionary has no {key!r}{did_you_mean(key, config)}")
    value = config[key]
    if count is None:
        return value
    size = f"{count}" if most in (None, count) else f"{count} to {most}"
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ArchitectureError(f"{key!r} is {value!r}; this space needs a list of {size} values")
    if not count <= len(value) <= (most or count):
        raise ArchitectureError(f"{key!r} holds {len(value)} values; this space needs {size}")
    return value
