"""The elastic engine: from a plain network to one set of weights that holds many.

The idea in four sentences. The *largest* network is a plain PyTorch module. A *plan* says, for an
architecture, which slice of each of its parameters and buffers is in use. Running a subnet means hanging those
slices into a throw-away copy of the module tree, cutting it out means copying them; so the two never differ.
Where the plan comes from is open: a preset writes it down, and `elasticise` finds it in the traced graph and
keeps only what a check confirms.

The parts, in the order one would read them. What runs a subnet:

- `plan`: `Plan`: sizes as tables over genes, axes made of sizes, kernels, modules that can be left out
- `layout`: `AxisLayout` and `Kernel`: how an axis is made of sizes, and which part of it is kept
- `slicing`: from sizes to slices of the shared tensors
- `gradients`: what slices learn, added up in the whole tensors
- `skeleton`: a module tree that holds other tensors, for a run: `bind`
- `cutting`: the same for good: `cut_out`, a plain network that shares nothing
- `notes`: what a copy has to look after beside registered tensors: ties, links, state, caches
- `references`: modules and tensors kept in lists, closures and objects, found and replaced
- `inputs`: `Inputs`: what one call of a network is given, in whatever nesting
- `relaxation`: `Relaxation`: weights per choice where an architecture would be, for differentiable search
- `blending`: mixtures of widths and kernel sizes, as factors on the shared weights
- `mixing`: the weighted sum of candidates, with no more kept than its gradients need
- `subnet`: `Subnet`: one architecture bound to the shared weights, and the ways to run it
- `supernet`: `Supernet`: largest network, plan, and everything one asks of them
- `distributed`: why a subnet that leaves parameters out still works under `DistributedDataParallel`
- `storage`: a supernet on disk, nothing pickled
- `origins`: how a largest network is made again from what its supernet remembers

What is known of it without running it:

- `costs`: `Costs`: exact multiply-adds, parameters, bytes and peak memory, for a million architectures a second
- `expectation`: what a relaxation costs on the average, differentiable
- `report`: `Report`: what is elastic, what is not and why, as a table

How a plain network becomes one (`elasticise` is the road, the others its stages):

- `elasticise`: the road itself
- `caches`: dictionaries that a network fills as it runs, emptied before it is made elastic
- `trace`: the exported graph: every call, with its sizes in terms of groups
- `exporting`: the exported graph, or why there is none
- `answers`: what a network promises among all it returns
- `walk`: what is known about every result while the graph is walked
- `rules`: what each aten op does to the axes of its inputs
- `rules_product`: the same for ops that multiply, and how often they do
- `rules_shape`: the same for ops that only move entries
- `counting`: which ops multiply nothing, and what is unknown
- `groups`: which sizes have to change together: a union-find over factored axes
- `depth`: blocks that can be left out, found in the graph
- `size_attributes`: integers in modules that a slice would contradict (``groups``, ``num_heads``)
- `following`: which of those integers really follow a group, found by trying
- `sizes`: which sizes a group may take, and the choices of the space
- `planning`: from a trace to a plan
- `verify`: every group is checked before it may be elastic: cut network against masked one
- `trial`: how that check runs a network: as exactly as it can, in evaluation and in training
- `watching`: what a network does as it runs: its calls, and the sizes it compares
- `decisions`: comparisons of sizes that would go otherwise in some subnet, and what to fix so that none does
- `visible`: which groups the answer depends on, from one gradient
- `failing`: which of many groups fail that check, found with few runs of it
- `live`: norms and means of the masked network, over the entries that are left
- `attention`: PyTorch's attention layer with fewer heads than its width is made of
- `reorder`: important units first, as a prefix is what a narrow subnet keeps
- `translate`: the traced calls in the sizes of the plan, which is what costs are computed from
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from supernet.elastic.costs import Cost as Cost, Costs as Costs
    from supernet.elastic.inputs import Inputs as Inputs
    from supernet.elastic.plan import Plan as Plan
    from supernet.elastic.report import Report as Report
    from supernet.elastic.rules import rule as rule
    from supernet.elastic.subnet import Subnet as Subnet, executions as executions
    from supernet.elastic.supernet import Supernet as Supernet
    from supernet.elastic.trace import Trace as Trace

_MODULES = {
    "Supernet": "supernet.elastic.supernet",
    "Subnet": "supernet.elastic.subnet",
    "executions": "supernet.elastic.subnet",
    "Inputs": "supernet.elastic.inputs",
    "Plan": "supernet.elastic.plan",
    "Costs": "supernet.elastic.costs",
    "Cost": "supernet.elastic.costs",
    "Report": "supernet.elastic.report",
    "Trace": "supernet.elastic.trace",
    "rule": "supernet.elastic.rules",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
