"""From tens of measurements to an estimate with an interval.

The idea: what was measured is known, what was not is an `Estimate`: a mean, an interval, and the share of cases
that interval should cover. How far off a predictor is, is found out on measurements it has not seen.

In the order one would read them:

- `estimate`: `Predictor` and `Estimate`: what a predictor promises, and the registry
- `tabular`: the predictor of latencies: several models, each believed as far as it was right; other devices help
- `process`: the predictor of accuracies: one Gaussian process, which learns in a fraction of a second
- `graph_kernel`: the same, and what the graphs of two architectures have in common
- `graph_network`: a small network on those graphs, which may learn from exact costs before anything was measured
- `graphs`: architectures as networkx graphs, and what two have in common
- `columns`: what a predictor is told of an architecture
- `models`: the models that `tabular` weighs against each other
- `linear`: one of them, in which some columns are trusted more than others
- `gaussian_process`: linear, smooth and noise, for a few dozen to a few thousand measurements
- `references`: profiles of other devices, and which architectures to measure on a new one
- `intervals`: intervals that hold what they promise
- `options`: how many measurements that needs
- `validate`: how far off a predictor is on what it has not seen
- `report`: predicted against measured, as a picture
- `storage`: a predictor as one JSON file
- `zero_cost`: what can be told of a network before it is trained
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from predictors.estimate import Estimate as Estimate, Predictor as Predictor, predictors as predictors
    from predictors.process import Process as Process
    from predictors.tabular import Tabular as Tabular

_MODULES = {
    "predictors": "predictors.estimate",
    "Tabular": "predictors.tabular",
    "Process": "predictors.process",
    "Predictor": "predictors.estimate",
    "Estimate": "predictors.estimate",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
