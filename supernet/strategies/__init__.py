"""Training strategies: each is one file, one registered name."""

from supernet.strategies.sandwich import Sandwich
from supernet.strategies.single_path import Alone, SinglePath
from supernet.strategies.strategy import Lesson, Strategy, strategies

__all__ = ["Alone", "Lesson", "Sandwich", "SinglePath", "Strategy", "strategies"]
