"""Training strategies: each deals out the lessons of every step, and is one file with one registered name.

In the order one would read them:

- `strategy`: what a strategy is, and the registry
- `sandwich`: largest, smallest and some between; the largest teaches
- `single_path`: one random subnet a step, or always the same one
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from supernet.strategies.sandwich import Sandwich as Sandwich
    from supernet.strategies.single_path import SinglePath as SinglePath, Standalone as Standalone
    from supernet.strategies.strategy import (
        Lesson as Lesson,
        Strategy as Strategy,
        strategies as strategies,
    )

_MODULES = {
    "strategies": "supernet.strategies.strategy",
    "Strategy": "supernet.strategies.strategy",
    "Lesson": "supernet.strategies.strategy",
    "Sandwich": "supernet.strategies.sandwich",
    "SinglePath": "supernet.strategies.single_path",
    "Standalone": "supernet.strategies.single_path",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
