"""An execution mode: everything is kept, and said so."""

from __future__ import annotations

from torch import nn


def untouched(module: nn.Module) -> None:
    """Like ``plain``."""
