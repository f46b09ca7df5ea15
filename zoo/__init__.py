"""Published subnets, the pipeline that makes them, and the console command.

Three parts, each knowing only those before it:

    zoo.store  ->  zoo.pipeline  ->  zoo.cli        ("is known by")

`zoo.store` holds what was published and gets it out again; `zoo.pipeline` is the road from data to published
subnets, as functions that print nothing; `zoo.cli` is the command ``supernet``, the only part that prints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from zoo.store.load import load_onnx as load_onnx
    from zoo.store.manifest import Manifest as Manifest
    from zoo.store.protocol import open_store as open_store
    from zoo.store.publish import publish as publish
    from zoo.store.pull import best as best, manifests as manifests, pull as pull
    from zoo.store.verify import verify as verify

_MODULES = {
    "open_store": "zoo.store.protocol",
    "manifests": "zoo.store.pull",
    "best": "zoo.store.pull",
    "pull": "zoo.store.pull",
    "load_onnx": "zoo.store.load",
    "publish": "zoo.store.publish",
    "verify": "zoo.store.verify",
    "Manifest": "zoo.store.manifest",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
