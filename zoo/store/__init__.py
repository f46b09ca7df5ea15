"""Where published subnets lie: what an entry says about itself, and how it gets in and out.

In the order one would read them:

- `manifest`: what an entry says about itself, with the hash of every file
- `card`: the same in words, as a README
- `protocol`: what a store is, their registry, `open_store`
- `index`: which entries a store holds
- `local`: a store in a folder, the only one that can be published to
- `web`: a store behind any web server, to read
- `publish`: putting an entry in
- `fetch`: a cache of files named by their hash
- `pull`: getting an entry out, by id or the best within limits
- `load`: running what was pulled
- `images`: what a pulled network sees on images, and how good it is on a labelled folder
- `verify`: whether a store still holds what was published

Nothing here knows runs, steps or the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from zoo.store.index import read_index as read_index
    from zoo.store.local import LocalStore as LocalStore
    from zoo.store.protocol import (
        MissingError as MissingError,
        Store as Store,
        open_store as open_store,
        stores as stores,
    )
    from zoo.store.web import WebStore as WebStore

_MODULES = {
    "open_store": "zoo.store.protocol",
    "Store": "zoo.store.protocol",
    "stores": "zoo.store.protocol",
    "LocalStore": "zoo.store.local",
    "WebStore": "zoo.store.web",
    "MissingError": "zoo.store.protocol",
    "read_index": "zoo.store.index",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
