"""Small plain networks for tasks that timm has none for; `elasticise` makes supernets of them.

Each is one file and one registered name, and knows nothing of being elastic:

`decoder`  a causal language model of the Llama kind
`unet`     a network for dense answers: down, and up again beside what was seen on the way
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from supernet.elastic.origins import Origin, makers
from supernet.registry import Registry

networks: Registry[Callable[..., nn.Module]] = Registry(
    "network",
    modules=("supernet.networks.decoder", "supernet.networks.unet"),
    group="supernet.networks",
)
"""Networks by name; what a task says of itself (`Task.network`) is among their arguments."""

__all__ = ["made", "networks"]


def made(kind: Callable[..., nn.Module], arguments: Mapping[str, Any]) -> nn.Module:
    """A network in evaluation mode, from arguments as a configuration file holds them."""
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}).eval()


@makers.register("network")
def rebuilt(origin: Origin) -> nn.Module:
    """The network of ``{"network": name, "kwargs": {...}}``."""
    return made(networks[origin["network"]], origin["kwargs"])
