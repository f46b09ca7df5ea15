"""Reversible: keep what comes out of each stage of streams, and compute the activations inside again, last one first.

Memory does not grow with the depth of a stage; a step takes about a third longer. Gradients are those of the plain
network but for rounding, and to the last bit where streams are fixed point.
"""

from __future__ import annotations

from torch import nn

from supernet.errors import SupernetError
from supernet.memory.modes import modes, once_differentiable
from supernet.memory.pieces import running
from supernet.reversible.stage import ReversibleStage


@modes.register("reversible")
@once_differentiable
def reversible(module: nn.Module) -> None:
    """Run every reversible stage inside a module backwards.

    Raises:
        SupernetError: when there is none.
    """
    stages = [inner for _, inner in running(module) if isinstance(inner, ReversibleStage)]
    if not stages:
        raise SupernetError(
            f"{type(module).__name__} has no reversible stage: its activations cannot be computed from its outputs; "
            "use the mode 'checkpoint' or 'fused', or a preset of two streams, e.g. 'rev_mobile'"
        )
    for stage in stages:
        stage.memory_free = True
