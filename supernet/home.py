"""Where the user's own things lie that belong to no run: what was pulled, and which devices there are."""

from __future__ import annotations

import os
from pathlib import Path


def default_home() -> Path:
    """``$SUPERNET_HOME``, else ``supernet`` in the user's cache folder."""
    home = os.environ.get("SUPERNET_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() if home else Path(cache).expanduser() / "supernet"
