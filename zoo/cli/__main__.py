"""``python -m zoo.cli`` is the command ``supernet``."""

from __future__ import annotations

from zoo.cli.commands import main

if __name__ == "__main__":
    main()
