"""The Pareto front of a space: objectives, searchers, and an archive of all that was ever paid for.

The idea: a searcher proposes networks, the engine evaluates each at most once and writes every value down the moment it
is known, by what it depends on. There is no checkpoint: whatever is searched next, with another seed, other limits or
for another device, begins with everything that is known.

In the order one would read them:

- `objective`: what is optimised: a unit, a sense, where its values come from, perhaps a limit
- `options`: how far and how to search
- `engine`: `search`: budget, archive, limits, resuming
- `searcher`: what a searcher is, and the registry
- `guided`: models of what is expensive, searched in its place: the default
- `gain`: the batch that adds most hypervolume
- `narrowing`: in a space that shrinks, or by chance, instead
- `evolution`: NSGA-II over whole matrices of genes
- `nsga2`: NSGA-II on what is expensive itself
- `uniform`: random networks: the baseline, and where the others begin
- `local`: local search, and evolution that forgets the old
- `engines`: NSGA-III, SMS-EMOA, MOEA/D, C-TAEA and AGE-MOEA-II, by pymoo
- `operators`: how genomes are drawn, mixed and changed
- `feasible`: whether the limits can be met at all
- `workers`: who evaluates: this process, or several workers; the registry of them
- `processes`: workers that are processes on this machine
- `on_ray`: workers on the machines of a Ray cluster
- `dispatch`: jobs to workers, where a lost one costs one trial
- `trials`: what was proposed and what became of it, in one order
- `archive`: what is known, on disk
- `imports`: what others found, as knowledge of an archive
- `query`: the best within limits and the nearest to a size, of what is known
- `front`: the non-dominated part, and three points to pick from it
- `growth`: hypervolume, network by network
- `ends`: budget, time, plateau: when a search ends
- `live`: what a search shows of itself while it runs
- `report`: a front as rows of a table and as a figure
- `common`: what the networks of a front have in common
- `figures`: hypervolume against evaluations, and what a front has in common
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from search.engine import random_search as random_search, search as search
    from search.front import choose as choose
    from search.objective import InfeasibleError as InfeasibleError, Objective as Objective
    from search.options import SearchOptions as SearchOptions
    from search.searcher import Searcher as Searcher, Terrain as Terrain, searchers as searchers

_MODULES = {
    "Objective": "search.objective",
    "InfeasibleError": "search.objective",
    "search": "search.engine",
    "random_search": "search.engine",
    "SearchOptions": "search.options",
    "choose": "search.front",
    "searchers": "search.searcher",
    "Searcher": "search.searcher",
    "Terrain": "search.searcher",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
