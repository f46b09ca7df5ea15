"""One step of a reversible stage: a stream gains what a branch makes of the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from supernet.errors import SpaceError

LEAST_SCALE = 1e-3
"""The smallest factor of a stream: its inverse multiplies every rounding error."""


class Coupling(nn.Module):
    """``own * scale + branch(*others)``; left out, the stream passes on as it is.

    It can be undone, ``own = (result - branch(*others)) / scale``, whatever the branch computes, as long as that has
    the shape of the stream.

    Args:
        branch: from the streams it reads, and whatever else the stage is given, to a tensor of the stream's shape.
        stream: position of the stream that is changed.
        reads: positions of those the branch is given, in this order; never the one that is changed.
        scale: factor of the stream; a parameter is kept away from zero, see `held_off`.
        title: what error messages call it.

    Raises:
        SpaceError: for a scale of zero, and for a branch that would read the stream it changes.
    """

    def __init__(
        self,
        branch: nn.Module,
        stream: int,
        reads: Sequence[int],
        scale: nn.Parameter | float | None = None,
        title: str = "",
    ) -> None:
        super().__init__()
        self.branch = branch
        self.stream, self.reads, self.title = stream, tuple(reads), title
        self.scale = scale if scale is None or isinstance(scale, Tensor) else float(scale)
        if self.scale is not None and not isinstance(scale, Tensor) and not self.scale:
            raise SpaceError(
                f"{title or 'a coupling'} multiplies its stream by 0, which cannot be undone; take 1e-3"
            )
        if stream in self.reads:
            raise SpaceError(
                f"{title or 'a coupling'} reads stream {stream}, which it changes, and so cannot be undone; read others"
            )

    def forward(self, own: Tensor, *given: object) -> Tensor:
        """The stream after this step.

        Args:
            own: the stream before, any shape.
            *given: the streams that are read, then what else the branch takes.
        """
        factor = self.factor()
        out: Tensor = self.branch(*given)
        need_shape(self, out, own)
        return (own if factor is None else own * factor) + out

    def factor(self) -> Tensor | float | None:
        """What the stream is multiplied with; None for one."""
        return held_off(self.scale) if isinstance(self.scale, Tensor) else self.scale

    def extra_repr(self) -> str:
        """Which stream, and what it reads."""
        return f"stream {self.stream} reads {', '.join(map(str, self.reads))}"


def need_shape(coupling: Coupling, out: Tensor, own: Tensor) -> None:
    """Make sure that a branch answers in the shape of the stream it is added to.

    Raises:
        SpaceError: naming the branch, both shapes and the way out.
    """
    if out.shape != own.shape:
        raise SpaceError(
            f"{coupling.title} turns a stream of shape {tuple(own.shape)} into {tuple(out.shape)}: inside a reversible "
            "stage the size stays; put strides and changes of width into an ordinary layer between two stages"
        )


def held_off(scale: Tensor, least: float = LEAST_SCALE) -> Tensor:
    """The factor with entries nearer to zero than ``least`` moved to it; zero counts as positive.

    The gradient is that of the identity, so that a factor can pass through zero.
    """
    with torch.no_grad():
        near = torch.where(scale < 0, -least, least).to(scale.dtype)
        moved = torch.where(scale.abs() < least, near - scale, 0)
    return scale + moved
