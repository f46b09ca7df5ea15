"""Training strategies: each deals out the lessons of every step, and is one file with one registered name.

In the order one would read them:

- `strategy`: what a strategy is and sees, and the registry
- `single_path`: one random subnet a step, over genes or costs, or always the same one
- `fair`: every value of every choice as often
- `sandwich`: largest, smallest and some between; the largest teaches
- `attentive`: a sandwich of the best, or worst, of a few candidates
- `alpha`: a sandwich that learns by the alpha-divergence
- `shrinking`: kernels first, then depth, then widths
- `nested`: a few subnets that lie in each other
- `multi`: several subnets in one batch
- `shift`: more often those costs whose losses still fall
- `preferred`: only architectures that a score without training picks
- `instatune`: a pretrained network is fine-tuned, and its subnets with it
- `macs`: architectures of about so many multiply-adds
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from supernet.strategies.alpha import Alpha as Alpha
    from supernet.strategies.attentive import Attentive as Attentive
    from supernet.strategies.fair import Fair as Fair
    from supernet.strategies.instatune import InstaTune as InstaTune
    from supernet.strategies.multi import MultiArchitecture as MultiArchitecture
    from supernet.strategies.nested import Nested as Nested
    from supernet.strategies.preferred import Preferred as Preferred
    from supernet.strategies.sandwich import Sandwich as Sandwich
    from supernet.strategies.shift import Shift as Shift
    from supernet.strategies.shrinking import Shrinking as Shrinking
    from supernet.strategies.single_path import SinglePath as SinglePath, Standalone as Standalone
    from supernet.strategies.strategy import (
        Context as Context,
        Lesson as Lesson,
        Observer as Observer,
        Sort as Sort,
        Sorter as Sorter,
        Strategy as Strategy,
        strategies as strategies,
    )

_MODULES = {
    "strategies": "supernet.strategies.strategy",
    "Strategy": "supernet.strategies.strategy",
    "Lesson": "supernet.strategies.strategy",
    "Context": "supernet.strategies.strategy",
    "Observer": "supernet.strategies.strategy",
    "Sorter": "supernet.strategies.strategy",
    "Sort": "supernet.strategies.strategy",
    "SinglePath": "supernet.strategies.single_path",
    "Standalone": "supernet.strategies.single_path",
    "Fair": "supernet.strategies.fair",
    "Sandwich": "supernet.strategies.sandwich",
    "Attentive": "supernet.strategies.attentive",
    "Alpha": "supernet.strategies.alpha",
    "Shrinking": "supernet.strategies.shrinking",
    "Nested": "supernet.strategies.nested",
    "MultiArchitecture": "supernet.strategies.multi",
    "Shift": "supernet.strategies.shift",
    "Preferred": "supernet.strategies.preferred",
    "InstaTune": "supernet.strategies.instatune",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
