"""Networks that can be run backwards, so that training need not keep their activations.

The idea: what flows through a stage is held as two or more *streams*, and each step adds to one of them what a
*branch* makes of the others. That can be undone whatever the branch is. So the backward pass starts from what came out
and computes the activations again, one branch at a time: memory does not grow with depth, gradients are those of
ordinary autograd.

In the order one would read them:

- `coupling`: one step: a stream gains what a branch makes of the others
- `stage`: `ReversibleStage`: couplings in a row, under ordinary autograd or memory-free
- `inverting`: the memory-free way: one autograd function for a stage
- `replaying`: the second run of a branch, which keeps less and measures no batch again
- `freezing`: a branch as it was when the forward pass ran
- `surroundings`: autocast and the states of generators, restored
- `arithmetic`: streams as floats, or as whole numbers that are undone to the last bit
- `partial`: branches that work on a K-th of the channels of a stream
- `adapters`: a pretrained vision transformer made reversible: adapters learn, it begins as it was
- `lanes`: recomputing and differentiating at the same time on a GPU
- `heun`: the reversible Heun solver of neural ODEs as a stage
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from supernet.reversible.coupling import Coupling as Coupling
    from supernet.reversible.heun import ReversibleHeun as ReversibleHeun
    from supernet.reversible.stage import ReversibleStage as ReversibleStage

_MODULES = {
    "Coupling": "supernet.reversible.coupling",
    "ReversibleStage": "supernet.reversible.stage",
    "ReversibleHeun": "supernet.reversible.heun",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
