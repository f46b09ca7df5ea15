"""Where a largest network came from, and how it is made again: fresh, of plain modules, with weights of no meaning.

An origin is plain JSON, ``{kind: name, "kwargs": {...}}``. Each kind has one maker; whoever knows how to make
networks of a kind registers it, so this module knows neither presets nor networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from supernet.errors import StateError
from supernet.registry import Registry

Origin = Mapping[str, Any]

makers: Registry[Callable[[Origin], nn.Module]] = Registry(
    "kind of origin",
    modules=("supernet.networks", "supernet.presets.preset"),
    group="supernet.origins",
)
"""By the key that an origin holds the name under; each makes the network of the whole origin."""


@makers.register("timm")
def from_timm(origin: Origin) -> nn.Module:
    """The timm model of ``{"timm": name, "kwargs": {...}}``."""
    import timm

    network: nn.Module = timm.create_model(origin["timm"], pretrained=False, **origin.get("kwargs", {}))
    return network


def rebuild(origin: Origin | None, folder: Path) -> nn.Module:
    """The largest network of the supernet in a folder, freshly made as its origin says.

    Raises:
        StateError: when the origin does not say how.
        SupernetError: when it names something that is not registered here.
    """
    for kind in origin or {}:
        if kind in makers:
            return makers[kind](origin or {})
    raise StateError(
        f"the supernet in {folder} does not say how its network is made (origin: {origin}); "
        f"make the network yourself and give it: Supernet.load({str(folder)!r}, model=network)"
    )
