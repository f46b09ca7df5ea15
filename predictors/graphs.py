"""Architectures as networkx graphs, for predictors that look at how a network is put together.

A node has a ``label``, a word that is equal for equal nodes, and ``values``, as many numbers for every node of a space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log1p, prod
from typing import TYPE_CHECKING
from zlib import crc32

import networkx as nx
import numpy as np

from predictors.estimate import Values
from supernet.space import Choice, Genes, SearchSpace

if TYPE_CHECKING:
    from supernet.elastic.supernet import Supernet

Graphs = Callable[[Genes], Sequence[nx.DiGraph]]
"""Genes ``(architectures, choices)`` to a graph for each."""

ROUNDS = 1
"""How far a node looks: so many edges."""
BUCKETS = 512
"""Columns that the labels of one round are sorted into by their hash; two that meet in one are a little noise."""


def chain(space: SearchSpace) -> Graphs:
    """Of a space alone: a node for every group of choices that matters ("blocks.1": its kernel, its width), in a row.

    Where a network branches inside its blocks this says nothing of it; `traced` does.
    """
    groups: dict[str, list[int]] = {}
    for i, choice in enumerate(space.choices):
        groups.setdefault(choice.name.rpartition(".")[0], []).append(i)
    kinds = sorted({choice.name.rpartition(".")[2] for choice in space.choices})

    def drawn(genes: Genes) -> list[nx.DiGraph]:
        """One graph for each row."""
        live = space.matters(genes)
        return [
            _row(space, groups, kinds, row, matters) for row, matters in zip(genes.tolist(), live.tolist())
        ]

    return drawn


def _row(
    space: SearchSpace, groups: dict[str, list[int]], kinds: list[str], genes: list[int], matters: list[bool]
) -> nx.DiGraph:
    found, before = nx.DiGraph(), None
    for group, choices in groups.items():
        here = [i for i in choices if matters[i]]
        if not here:
            continue
        values = [0.0] * len(kinds)
        for i in here:
            kind = space.choices[i].name.rpartition(".")[2]
            values[kinds.index(kind)] = _scaled(space.choices[i], genes[i])
        words = [
            f"{space.choices[i].name.rpartition('.')[2]}={space.choices[i].values[genes[i]]}" for i in here
        ]
        found.add_node(group, label=f"{group.rpartition('.')[0]} {' '.join(words)}", values=values)
        if before is not None:
            found.add_edge(before, group)
        before = group
    return found


def _scaled(choice: Choice, gene: int) -> float:
    """The value over the largest; of words, which of them it is."""
    value, largest = choice.values[gene], choice.values[-1]
    if isinstance(value, str) or isinstance(largest, str) or not largest:
        return (gene + 1) / len(choice.values)
    return float(value) / float(largest)


def traced(supernet: Supernet, shape: Sequence[int] | None = None) -> Graphs:
    """Of a supernet: a node for every call that computes something, by `supernet.graph.graph`.

    Args:
        shape: of the input, as that function takes it.
    """
    from supernet.graph import graph

    def drawn(genes: Genes) -> list[nx.DiGraph]:
        """One graph for each row."""
        graphs = [graph(supernet, arch, shape) for arch in supernet.space.architectures(genes)]
        for each in graphs:
            for _, node in each.nodes(data=True):
                sizes = [tuple(weight) for weight in node["weights"].values()]
                node["label"] = f"{node['op']} {tuple(node['shape'][1:])} {sizes}"
                node["values"] = [
                    log1p(number) / 20 for number in (node["macs"], prod(node["shape"]), len(sizes))
                ]
        return graphs

    return drawn


def weisfeiler_lehman(graphs: Sequence[nx.DiGraph]) -> Values:
    """How often every label is met ``(graphs, (ROUNDS + 1) * BUCKETS)``.

    In the first round that is a node's own, in the next it takes in those of the nodes it reads and is read by. The
    product of two rows is the Weisfeiler-Lehman kernel (Shervashidze et al., JMLR 2011; of architectures in NAS-BOWL,
    arXiv:2006.07556).
    """
    found = np.zeros((len(graphs), ROUNDS + 1, BUCKETS))
    for rounds, graph in zip(found, graphs):
        labels = {node: crc32(str(data["label"]).encode()) for node, data in graph.nodes(data=True)}
        for number, row in enumerate(rounds):
            if number:
                labels = {node: _around(graph, labels, node) for node in graph}
            for label in labels.values():
                row[label % BUCKETS] += 1
    return found.reshape(len(graphs), -1)


def _around(graph: nx.DiGraph, labels: dict[object, int], node: object) -> int:
    """A label of a node, what it reads and who reads it."""
    read, readers = (
        sorted(labels[other] for other in side(node)) for side in (graph.predecessors, graph.successors)
    )
    return crc32(f"{labels[node]} {read} {readers}".encode())
