"""The reversible Heun solver (Kidger et al., arXiv:2105.13493) as a reversible stage: a neural ODE without activations.

A step of size h from ``(y, z)``, of which z starts as a copy of y, is ``z' = 2 y - z + h f(t, z)`` and
``y' = y + h/2 (f(t, z) + f(t + h, z'))``. Written as couplings this is ``y += h/2 f(t, z); z = 2 y - z;
y += h/2 f(t + h, z)``, each of which can be undone; what two steps say about the same z is said once, so there is one
evaluation a step. Gradients are those of the discrete steps.
"""

from __future__ import annotations

from torch import Tensor, nn

from supernet.errors import SpaceError
from supernet.reversible.coupling import Coupling
from supernet.reversible.stage import ReversibleStage


class Field(nn.Module):
    """A vector field at a time, times a step."""

    def __init__(self, field: nn.Module, time: float, step: float) -> None:
        super().__init__()
        self.field, self.time, self.step = field, time, step

    def forward(self, x: Tensor) -> Tensor:
        """``step * field(time, x)``, of the shape of ``x``."""
        out: Tensor = self.step * self.field(self.time, x)
        return out


class Twice(nn.Module):
    """Twice a stream."""

    def forward(self, x: Tensor) -> Tensor:
        """``2 x``."""
        return 2 * x


def heun_stage(field: nn.Module, start: float, end: float, steps: int) -> ReversibleStage:
    """The steps of a solve, as a stage of the streams ``(y, z)``.

    Args:
        field: from a time and a state to the derivative of the state.
        start: time of the initial state.
        end: time of the answer; before ``start`` to solve backwards.
        steps: of equal size.

    Raises:
        SpaceError: for less than one step.
    """
    if steps < 1:
        raise SpaceError(f"{steps} steps from {start} to {end} solve nothing; take at least one")
    size = (end - start) / steps
    couplings = [Coupling(Field(field, start, size / 2), 0, (1,), title="the field at step 0")]
    for i in range(1, steps + 1):
        title = f"the field at step {i}"
        couplings.append(Coupling(Twice(), 1, (0,), -1.0, title=title))
        share = size if i < steps else size / 2
        couplings.append(Coupling(Field(field, start + i * size, share), 0, (1,), title=title))
    return ReversibleStage(couplings)


class ReversibleHeun(nn.Module):
    """The state that an ordinary differential equation reaches.

    Args:
        field: from a time and a state to the derivative of the state.
        start: time of the initial state.
        end: time of the answer.
        steps: of equal size; the error falls with their square.

    Raises:
        SpaceError: for less than one step.
    """

    def __init__(self, field: nn.Module, start: float = 0.0, end: float = 1.0, steps: int = 8) -> None:
        super().__init__()
        self.stage = heun_stage(field, start, end, steps)

    def forward(self, x: Tensor) -> Tensor:
        """The state at the end, of the shape of the state at the start."""
        out: Tensor = self.stage(x, x)[0]
        return out
