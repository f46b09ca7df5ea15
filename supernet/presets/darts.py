"""DARTS' cells (Liu et al., arXiv:1806.09055): a normal and a reduction cell, each repeated through the network.

Every state of a cell keeps two edges, each with one of seven operations. An edge's operation is a choice, and so is
which two edges a state keeps. With ``share`` it is the network of PC-DARTS (Xu et al., arXiv:1907.05737): the space
stays the same, so what was found with partial channels is an architecture of the network without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import networkx as nx
from torch import Tensor, nn

from supernet.elastic.plan import Plan
from supernet.errors import ArchitectureError, SpaceError
from supernet.presets.cells import (
    Cell,
    FactorizedReduce,
    Operation,
    avg_pool,
    complete,
    dilated,
    edges,
    max_pool,
    relu_conv_norm,
    separable,
    skip,
)
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import PlannedPreset, asked, presets
from supernet.space import Architecture, Choice, SearchSpace, Value

OPERATIONS: dict[str, Operation] = {
    "skip_connect": skip,
    "max_pool_3x3": max_pool,
    "avg_pool_3x3": avg_pool,
    "dil_conv_3x3": dilated(3),
    "dil_conv_5x5": dilated(5),
    "sep_conv_3x3": separable(3),
    "sep_conv_5x5": separable(5),
}
"""By their published names, from the cheapest to the dearest."""
KINDS = ("normal", "reduce")
INPUTS = 2


class CellNetwork(nn.Module):
    """A stem, cells that each read the two before them, and a classifier."""

    def __init__(self, stem: nn.Module, cells: Sequence[nn.Module], width: int, classes: int) -> None:
        super().__init__()
        self.stem = stem
        self.cells = nn.ModuleList(cells)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, classes)`` logits of images ``(batch, channels, height, width)``."""
        before = last = self.stem(x)
        for cell in self.cells:
            before, last = last, cell(before, last)
        out: Tensor = self.classifier(self.flatten(self.pool(last)))
        return out


@presets.register("darts")
@dataclass(frozen=True)
class DARTS(PlannedPreset):
    """Two cells of four states: (180 * 49^4)^2 = 1.1e18 subnets.

    Args:
        cells: of the network; those at a third and at two thirds of it reduce.
        width: channels of the first states, doubled by every reduction.
        nodes: states of a cell.
        share: K of partial channels: the first K-th of a state works; 1 is DARTS.
        stem: channels of the stem over ``width``.
        classes: of the classifier.
        affine: whether batch norms scale and shift; off while searching, on to train one subnet.
        resolution: of the images.
    """

    cells: int = 8
    width: int = 16
    nodes: int = 4
    share: int = 1
    stem: int = 3
    classes: int = 10
    affine: bool = False
    resolution: int = 32

    def __post_init__(self) -> None:
        if self.cells < 3 or self.nodes < 1:
            raise SpaceError(
                f"{self.cells} cells of {self.nodes} states; there have to be 3 cells, of which two reduce, and a state"
            )
        if self.share < 1 or self.width % self.share or self.width % 2:
            raise SpaceError(
                f"share is {self.share} and width {self.width}; the width has to be even, and share must divide it"
            )

    @cached_property
    def graph(self) -> nx.DiGraph:
        """The states of a cell: 0 and 1 are the answers of the two cells before it."""
        return complete(INPUTS, self.nodes)

    @cached_property
    def space(self) -> SearchSpace:
        """Of each kind of cell: which two edges a state keeps, and the operation of each edge that is kept."""
        choices = []
        for kind in KINDS:
            for node in range(INPUTS, INPUTS + self.nodes):
                pairs = tuple(f"{a}+{b}" for a, b in combinations(range(node), 2))
                choices.append(Choice(f"{kind}.{node}.inputs", pairs))
                for i in range(node):
                    needs = (f"{kind}.{node}.inputs", tuple(p for p in pairs if str(i) in p.split("+")))
                    choices.append(Choice(f"{kind}.{node}.from_{i}", tuple(OPERATIONS), needs))
        return SearchSpace(tuple(choices))

    def network(self) -> nn.Module:
        """The largest network, freshly initialised as PyTorch does."""
        width = self.stem * self.width
        stem = nn.Sequential(nn.Conv2d(self.channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        cells, shapes, halved = [], [width, width], False
        for kind, channels in self._cells():
            first, second = shapes[-2:]
            prepare = [
                FactorizedReduce(first, channels, self.affine)
                if halved
                else relu_conv_norm(first, channels, affine=self.affine),
                relu_conv_norm(second, channels, affine=self.affine),
            ]
            halved = kind == "reduce"
            cells.append(
                Cell(
                    self.graph,
                    prepare,
                    tuple(OPERATIONS.values()),
                    channels,
                    reduces=halved,
                    share=self.share,
                    affine=self.affine,
                )
            )
            shapes.append(self.nodes * channels)
        return CellNetwork(stem, cells, shapes[-1], self.classes)

    def plan(self, network: nn.Module) -> Plan:
        """Two edges of every state, one candidate of each."""
        wiring = PlanBuilder(network, self.space)
        for c, (kind, _) in enumerate(self._cells()):
            for i, j in edges(self.graph):
                path, name = f"cells.{c}.nodes.{j - INPUTS}.from_{i}", f"{kind}.{j}.from_{i}"
                wiring.switch(
                    path,
                    f"{path}.present",
                    [f"{kind}.{j}.inputs"],
                    lambda pair, own=str(i): own in pair.split("+"),
                )
                wiring.one_of(path, name, tuple(OPERATIONS))
        return wiring.plan()

    def _cells(self) -> Iterator[tuple[str, int]]:
        """Kind and channels of every cell."""
        channels = self.width
        for i in range(self.cells):
            reduces = i in (self.cells // 3, 2 * self.cells // 3)
            channels *= 2 if reduces else 1
            yield KINDS[reduces], channels

    def dag(self, arch: Architecture, kind: str) -> nx.DiGraph:
        """The cell of an architecture as a graph; its edges have an ``operation``.

        Args:
            arch: a point of the space.
            kind: ``normal`` or ``reduce``.
        """
        values = self.space.decode(arch)
        graph = nx.DiGraph()
        graph.add_nodes_from(self.graph)
        for i, j in edges(self.graph):
            if (operation := values.get(f"{kind}.{j}.from_{i}")) is not None:
                graph.add_edge(i, j, operation=operation)
        return graph

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """The architecture of a genotype: ``{"normal": [["sep_conv_3x3", 0], ...], "reduce": [...]}``.

        Two entries for each state, in order; ``normal_concat`` and ``reduce_concat`` may be there.

        Raises:
            ArchitectureError: for a missing key, a list of another length, or an edge that a state can not keep.
        """
        values: dict[str, Value] = {}
        for kind in KINDS:
            entries = asked(config, kind, 2 * self.nodes)
            for node in range(INPUTS, INPUTS + self.nodes):
                kept = entries[2 * (node - INPUTS) :][:2]
                pair = {int(i): op for op, i in kept}
                if len(pair) < 2:
                    raise ArchitectureError(
                        f"state {node} of the {kind} cell has {kept}; it keeps edges from two different "
                        f"states before it"
                    )
                values[f"{kind}.{node}.inputs"] = "+".join(map(str, sorted(pair)))
                values |= {f"{kind}.{node}.from_{i}": op for i, op in pair.items() if i < node}
        return self.space.encode(values)

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """The genotype, with which states each cell answers."""
        config: dict[str, Any] = {}
        for kind in KINDS:
            dag = self.dag(arch, kind)
            config[kind] = [[dag.edges[i, j]["operation"], i] for i, j in edges(dag)]
            config[f"{kind}_concat"] = list(range(INPUTS, INPUTS + self.nodes))
        return config
