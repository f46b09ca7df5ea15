"""Published subnets: manifests, stores, pulling by limit; and the one console command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from zoo.load import load_onnx
    from zoo.manifest import Manifest
    from zoo.pull import best, manifests
    from zoo.store import open_store

_MODULES = {
    "open_store": "zoo.store",
    "best": "zoo.pull",
    "manifests": "zoo.pull",
    "load_onnx": "zoo.load",
    "Manifest": "zoo.manifest",
}
__getattr__ = offers(__name__, _MODULES)
__all__ = [  # noqa: RUF022 - in the order one would learn them
    "open_store",
    "best",
    "manifests",
    "load_onnx",
    "Manifest",
]
