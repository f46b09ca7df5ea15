"""Sees that a training blows up, before it has unlearnt everything: then it goes back, with a lower rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import inf, isfinite
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from supernet.errors import SupernetError
from supernet.options import TrainOptions
from supernet.tasks.task import Batch, Task
from supernet.wording import counted

WINDOW, FEWEST = 50, 20
"""Steps of a role that a running median is of, and the fewest that make one."""
DEVIATIONS = 10.0
"""Median absolute deviations above the median at which a loss is unlike those before."""
IN_A_ROW = 5
"""Steps that a loss has to be too high; a single batch can be strange."""
ALLOWED = {"largest": 1.0}
"""A loss that is too high is beyond that of knowing nothing: a largest network that has come back to it is lost."""
OTHERWISE = 3.0
"""Likewise of subnets that a strategy may only just have begun to teach."""
AT_ONCE = 10.0
"""Times the loss of knowing nothing that no batch explains."""


class BlownUp(SupernetError):
    """A training that no longer learns; the message says by which loss one sees it."""


@dataclass(frozen=True)
class Rollback:
    """A training went back.

    Args:
        step: at which it had blown up.
        to: the step after which it goes on.
        rate: what every learning rate is multiplied by from there on.
        reason: what was seen.
    """

    step: int
    to: int
    rate: float
    reason: str

    def __str__(self) -> str:
        return f"{self.reason}; going on after step {self.to} with {self.rate:g} of the learning rate"


@dataclass
class Guard:
    """Watches the losses of a training, role by role.

    A loss has blown up when it is no number or ten times that of knowing nothing. So has one that is, five steps in
    a row, far above its running median (ten times the median absolute deviation) and above the loss of knowing
    nothing; three times that for all but the largest, because a new phase may deal out networks that never learnt.
    Where the first loss of a role is above that of knowing nothing, it stands in its place.

    Args:
        knowing_nothing: the loss of answers that are all zero; None until one was seen, 0 where there is none.
        first: the first loss of each role.
        losses: the last ones of each role.
        too_high: how many steps in a row those of a role were too high.
        rollbacks: how often the training went back.
    """

    knowing_nothing: float | None = None
    first: dict[str, float] = field(default_factory=dict)
    losses: dict[str, list[float]] = field(default_factory=dict)
    too_high: dict[str, int] = field(default_factory=dict)
    rollbacks: list[Rollback] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """What every learning rate is multiplied by: half of what it was for each time the training went back."""
        return 0.5 ** len(self.rollbacks)

    def meet(self, task: Task, outputs: Any, batch: Batch) -> None:
        """Learn what knowing nothing loses, from the first answers of a training."""
        if self.knowing_nothing is None:
            with torch.no_grad():
                loss = task.loss(tree_map(_zero, outputs), batch).item()
            self.knowing_nothing = loss if isfinite(loss) and loss > 0 else 0.0

    def look(self, step: int, means: Mapping[str, float]) -> None:
        """Take note of the mean loss of every role in a step.

        Raises:
            BlownUp: when one of them no longer learns.
        """
        for role, loss in means.items():
            self.look_once(step, role, loss)
            self.first.setdefault(role, loss)
            before = self.losses.setdefault(role, [])
            self.too_high[role] = self.too_high.get(role, 0) + 1 if self._is_too_high(role, loss) else 0
            if self.too_high[role] == IN_A_ROW:
                raise BlownUp(
                    f"the loss of the {role} subnet is {loss:.4g} at step {step}, where the median of the last "
                    f"{len(before)} steps is {median(before):.4g}"
                )
            before.append(loss)
            del before[:-WINDOW]

    def look_once(self, step: int, role: str, loss: float) -> None:
        """Look at a loss without taking note.

        Raises:
            BlownUp: when it is one that no batch explains.
        """
        if not isfinite(loss) or loss > AT_ONCE * self._ignorant(role, loss):
            raise BlownUp(f"the loss of the {role} subnet is {loss:.4g} at step {step}")

    def _is_too_high(self, role: str, loss: float) -> bool:
        before = self.losses[role]
        if len(before) < FEWEST:
            return False
        middle = median(before)
        usual = median(abs(each - middle) for each in before)
        allowed = ALLOWED.get(role, OTHERWISE) * self._ignorant(role, loss)
        return loss > max(middle + DEVIATIONS * usual, allowed)

    def _ignorant(self, role: str, loss: float) -> float:
        """What a subnet of a role loses before it has learnt anything; infinite where nobody knows."""
        return max(self.first.get(role, loss), self.knowing_nothing) if self.knowing_nothing else inf

    def go_back(self, step: int, to: int, reason: str) -> Rollback:
        """Note that the training goes back."""
        rollback = Rollback(step, to, self.rate / 2, reason)
        self.rollbacks.append(rollback)
        return rollback

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Guard:
        """What `to_json` wrote."""
        rollbacks = [Rollback(**each) for each in document.get("rollbacks", ())]
        return cls(**{**document, "rollbacks": rollbacks})


def hopeless(error: BlownUp, options: TrainOptions, step: int) -> SupernetError:
    """What ends a training: it blew up once more than it may go back; its state after ``step`` is kept."""
    tried = ""
    if options.rollbacks:
        times = counted(options.rollbacks, "time")
        tried = f", after going back {times} with half the learning rate; the state after step {step} is kept"
    return SupernetError(
        f"{error}{tried}; try a lower learning rate (lr is {options.lr:g}) or a longer warm-up"
    )


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether every entry is a number."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def _zero(leaf: Any) -> Any:
    floats = isinstance(leaf, Tensor) and leaf.is_floating_point()
    return torch.zeros_like(leaf) if floats else leaf
