"""Build the API reference from the docstrings: ``make docs``, or ``python docs/reference.py FOLDER``."""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module
from pathlib import Path

import pdoc

PACKAGES = ["supernet", "hardware", "predictors", "search", "zoo"]


def build(folder: Path) -> Path:
    """Write one page for each module, and an index.

    Args:
        folder: where to; made when it is missing.

    Returns:
        The first page.
    """
    for name in list(PACKAGES):
        package = import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if module.ispkg:
                _show_all(module.name)
        _show_all(name)
    pdoc.render.configure(docformat="google", footer_text="supernet, Apache-2.0")
    pdoc.pdoc(*PACKAGES, output_directory=folder)
    return folder / "index.html"


def _show_all(package: str) -> None:
    """A package offers some names of its modules; the reference shows each where it is defined, and all modules."""
    module = import_module(package)
    if hasattr(module, "__all__"):
        del module.__all__


if __name__ == "__main__":
    print(f"the API reference: {build(Path(sys.argv[1] if len(sys.argv) > 1 else 'build/docs'))}")
