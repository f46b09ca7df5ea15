"""How the logits of a differentiable search learn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from supernet.options import Plain, within


@dataclass(frozen=True)
class DifferentiableOptions:
    """How logits learn.

    Args:
        method: which registered method makes weights of them.
        method_options: the fields of that method.
        order: ``first`` leaves the weights as they are; ``second`` looks one step of theirs ahead, by finite
            differences; ``exact`` by differentiating through that step.
        warmup: share of the epochs in which only the weights learn.
        lr: of the logits.
        weight_decay: of the logits.

    Raises:
        ConfigError: for a number outside its range.
    """

    method: str = "pc_darts"
    method_options: dict[str, Plain] = field(default_factory=dict)
    order: Literal["first", "second", "exact"] = "first"
    warmup: float = 0.3
    lr: float = 6e-4
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        within("warmup", self.warmup, 0.0, 1.0)
        within("lr", self.lr, 0.0)
        within("weight_decay", self.weight_decay, 0.0)
