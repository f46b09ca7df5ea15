"""Names a package offers without importing the modules behind them until one is used.

`import supernet` and `supernet --help` then start without torch and timm (PEP 562).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def offers(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The ``__getattr__`` and the ``__dir__`` of a package.

    Args:
        package: its name.
        modules: offered name to the module that defines it.
    """

    def find(name: str) -> Any:
        """The object of that name, from the module that defines it."""
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(import_module(modules[name]), name)
        setattr(sys.modules[package], name, found)  # from now on without this detour
        return found

    def names() -> list[str]:
        """What the package offers."""
        private = {name for name in vars(sys.modules[package]) if name.startswith("__")}
        return sorted(private | modules.keys())

    return find, names
