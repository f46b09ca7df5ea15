"""What a relaxation costs on the average, differentiable in its weights.

Where candidates are independent of each other the expectation of a sum of costs is exact: each term counts with the
weights of everything it needs. Where the weights of every choice sum to one it equals the mean over all
architectures, each as probable as the product of its weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supernet.elastic.costs import Costs, Term, sizes_at, sizes_of
from supernet.elastic.relaxation import TOGETHER, Relaxable, Relaxation, is_set
from supernet.space import Architecture, Genes


class ExpectedCost:
    """Multiply-adds or parameters of a relaxation.

    Args:
        relaxable: of the supernet.
        costs: of the supernet, at the inputs that matter.
        what: which of them.
        arch: what the choices are that are not relaxed.
    """

    def __init__(
        self,
        relaxable: Relaxable,
        costs: Costs,
        arch: Architecture,
        what: Literal["macs", "params"] = "macs",
    ) -> None:
        self.relaxable = relaxable
        places = {dim: (one.path, i) for one in relaxable.candidates for i, dim in enumerate(one.dims)}
        sizes = sizes_of(costs, arch)
        shares = defaultdict[tuple[tuple[str, int], ...], float](float)
        scale = 1 / costs.batch if what == "macs" else 1.0
        self.tables: dict[tuple[str, ...], Tensor] = {}
        for term in costs.terms(what):
            if choices := self._sized(term):
                table = torch.from_numpy(self._table(costs, arch, term, choices) * scale)
                self.tables[choices] = self.tables.get(choices, 0) + table
                continue
            fixed = [sizes.of(switch)[0] for switch in term.switches if switch not in places]
            lengths = [np.ravel(sizes.length(layout))[0] for layout in term.layouts]
            key = tuple(places[switch] for switch in term.switches if switch in places)
            shares[key] += scale * float(term.constant * prod(lengths) * prod(fixed))
        self.shares = dict(shares)
        needs = sorted({len(key) for key in shares})
        self._by_length = [[key for key in shares if len(key) == count] for count in needs]

    def _sized(self, term: Term) -> tuple[str, ...]:
        """The choices of sizes that a term depends on."""
        plan, sized = self.relaxable.plan, self.relaxable.blending.values
        dims = {dim for layout in term.layouts for dim in layout.dims} | set(term.switches)
        return tuple(sorted({name for dim in dims for name in plan.dims[dim].by if name in sized}))

    def _table(
        self, costs: Costs, arch: Architecture, term: Term, choices: Sequence[str]
    ) -> NDArray[np.float64]:
        """A term for every combination of values of some choices, the others as the architecture has them."""
        space = costs.space
        shape = tuple(len(space[name].values) for name in choices)
        genes = np.repeat(space.matrix([arch]), prod(shape), axis=0)
        genes[:, [space.index(name) for name in choices]] = np.indices(shape).reshape(len(shape), -1).T
        sizes = sizes_at(costs, genes)
        out = np.full(len(genes), float(term.constant))
        for layout in term.layouts:
            out *= sizes.length(layout)
        for switch in term.switches:
            out *= sizes.of(switch)
        return out.reshape(shape)

    def _means(self, relaxation: Relaxation, like: Tensor) -> Tensor:
        """What depends on sizes: each table summed with the weights of its choices."""
        space = self.relaxable.space
        total = like.new_zeros(())
        for choices, table in self.tables.items():
            mean = table.to(like)
            for name in choices:
                gene = relaxation.arch.genes[space.index(name)]
                weights = relaxation.weights.get(name)
                mean = mean[gene] if weights is None else torch.tensordot(weights, mean, 1)
            total = total + mean
        return total

    def __call__(self, relaxation: Relaxation) -> Tensor:
        """A scalar; a term whose choice is not relaxed counts as the architecture has it."""
        weights = self.relaxable.of_children(relaxation)
        like = next(iter(relaxation.weights.values()))
        hot = self.relaxable.of_children(self.relaxable.one_hot(relaxation.arch, like))
        entries = {path: weights.get(path, fixed) for path, fixed in hot.items()}
        starts = dict(zip(entries, np.cumsum([0, *map(len, entries.values())])))
        flat = torch.cat([*entries.values(), like.new_zeros(0)])
        total = self._means(relaxation, like)
        for keys in self._by_length:
            places = torch.tensor([[starts[path] + i for path, i in key] for key in keys], dtype=torch.long)
            shares = like.new_tensor([self.shares[key] for key in keys])
            total = total + flat[places.to(flat.device)].prod(1) @ shares
        return total


class ExpectedValue:
    """A predictor's answer for a relaxation, by how much each value of each choice changes it.

    The predictor is asked once, for an architecture and all that differ from it in one choice. Exact for one that
    adds up over choices, as ProxylessNAS' table of latencies does (arXiv:1812.00332); else it is the first term of
    the expansion around that architecture. Of an edge that can be left out, what its operations cost more than
    the first of them counts.

    Args:
        relaxable: of the supernet.
        predict: from genes ``(architectures, choices)`` to a number for each.
        arch: the one that the others differ from.
    """

    def __init__(
        self, relaxable: Relaxable, predict: Callable[[Genes], NDArray[Any]], arch: Architecture
    ) -> None:
        space = relaxable.space
        self.relaxable = relaxable
        rows: list[Architecture] = [arch]
        places: list[tuple[str, int, int]] = []
        for name in relaxable.members:
            choice = space[name]
            if is_set(choice):
                continue
            base = _with_parent(relaxable, arch, name)
            first = len(rows)
            for i in range(len(choice.values)):
                genes = list(base.genes)
                genes[space.index(name)] = i
                rows.append(space.architecture(genes))
            places.append((name, first, len(choice.values)))
        values = np.asarray(predict(space.matrix(rows)), dtype=np.float64)
        self.constant = float(values[0])
        self.tables: dict[str, tuple[float, ...]] = {}
        for name, first, count in places:
            parent = relaxable.parent(name)
            origin = values[first] if parent else self.constant
            self.tables[name] = tuple(values[first : first + count] - origin)

    def __call__(self, relaxation: Relaxation) -> Tensor:
        """A scalar, in the predictor's unit."""
        like = next(iter(relaxation.weights.values()))
        total = like.new_tensor(self.constant)
        for name, weights in relaxation.weights.items():
            if name in self.tables:
                share = weights @ weights.new_tensor(self.tables[name])
                parent = self.relaxable.parent(name)
                if parent is not None and parent[0] in relaxation.weights:
                    share = share * relaxation.weights[parent[0]][parent[1]]
                total = total + share
        return total


def _with_parent(relaxable: Relaxable, arch: Architecture, name: str) -> Architecture:
    """The architecture, changed so that a choice matters."""
    space, parent = relaxable.space, relaxable.parent(name)
    if parent is None:
        return arch
    genes = list(arch.genes)
    member = str(relaxable.members[parent[0]][parent[1]])
    values = space[parent[0]].values
    genes[space.index(parent[0])] = next(
        i for i, value in enumerate(values) if member in str(value).split(TOGETHER)
    )
    return space.architecture(genes)


def entropy(relaxation: Relaxation) -> float:
    """How undecided a relaxation is: the mean entropy of its choices over that of even weights, from 1 down to 0."""
    shares = []
    for weights in relaxation.weights.values():
        if len(weights) > 1:
            p = weights.detach().double()
            p = p / p.sum().clamp_min(1e-30)
            shares.append(float(torch.special.entr(p).sum() / np.log(len(p))))
    return float(np.mean(shares)) if shares else 0.0
