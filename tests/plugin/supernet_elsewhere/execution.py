"""An execution: the subnet is cut out anew at every call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supernet.elastic.subnet import Subnet


def cut_out(subnet: Subnet, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """For looking at; no gradient reaches the supernet."""
    network = subnet.supernet.extract(subnet.arch, subnet.statistics)
    return network.train(subnet.training)(*args, **kwargs)
