"""Differentiable search: logits per choice learn beside the shared weights, by gradients.

The idea: a `Method` makes a `supernet.elastic.relaxation.Relaxation` of logits, softly or by sampling; the supernet
runs it as it runs an architecture; the weights learn on the train split and the logits on the search split. What the
logits lean to in the end is an architecture like any other. docs/differentiable.md shows it.

In the order one would read them:

- `method`: what a method is, and the registry
- `darts`: DARTS: a softmax
- `pc_darts`: PC-DARTS: weights on edges too, for partial channels
- `gdas`: GDAS: one candidate, by Gumbel noise
- `drnas`: DrNAS: weights drawn from Dirichlet distributions
- `proxylessnas`: ProxylessNAS: one candidate, and what all others would have done
- `gold_nas`: GOLD-NAS: gates that close under a growing penalty on cost
- `rc_darts`: RC-DARTS: a softmax, projected onto a bound of the cost
- `single_path_nas`: Single-Path NAS: thresholds on the norms of what a larger kernel or width adds
- `tas`: TAS: two widths at a time, the narrower answer stretched
- `pricing`: the expected cost that such methods look at
- `bilevel`: the gradient of the logits, to first and second order
- `options`: how logits learn
- `running`: in which execution mixtures run, or within how many bytes
- `trainer`: weights and logits in turns
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from supernet.differentiable.method import Method as Method, methods as methods
    from supernet.differentiable.options import DifferentiableOptions as DifferentiableOptions
    from supernet.differentiable.trainer import DifferentiableTrainer as DifferentiableTrainer

_MODULES = {
    "methods": "supernet.differentiable.method",
    "Method": "supernet.differentiable.method",
    "DifferentiableOptions": "supernet.differentiable.options",
    "DifferentiableTrainer": "supernet.differentiable.trainer",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
