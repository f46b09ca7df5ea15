"""Scores that tell something of a network before it is trained: one page for each, and a learned combination.

The idea: a score is a function of a cut-out subnet and one batch. It costs a pass or two, and it says how networks of a
space rank, not how good they are; which score says most is another one for every space, so what a few evaluations say
decides (`combination`).

In the order one would read them:

- `candidate`: what a score is given, the registry, and `zero_cost` that computes one
- `params`: how many numbers are learned
- `macs`: how many multiply-adds an example takes
- `grad_norm`: how steep the loss is
- `snip`: how much of the loss rests on the weights
- `grasp`: how much of the gradient does
- `synflow`: how much flows through all paths, without data
- `fisher`: how much of the loss rests on single channels
- `correlation`: how unlike each other some rows are
- `jacobian`: how differently the answers depend on each example
- `naswot`: how differently activations switch for each example
- `zen`: how far a little noise is carried
- `zico`: how alike gradients of different examples are
- `hidden_covariance`: how unlike the hidden states of sequences are
- `kendall`: rank correlation that has a gradient
- `combination`: one ranking from several scores, learned from a few evaluations
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from predictors.zero_cost.candidate import scores as scores, zero_cost as zero_cost
    from predictors.zero_cost.combination import Combination as Combination

_MODULES = {
    "zero_cost": "predictors.zero_cost.candidate",
    "scores": "predictors.zero_cost.candidate",
    "Combination": "predictors.zero_cost.combination",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
