"""NAS-Bench-201's cell (Dong and Yang, arXiv:2001.00326): four states, one of five operations on every edge."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import networkx as nx
from torch import Tensor, nn

from supernet.elastic.plan import Plan
from supernet.errors import ArchitectureError
from supernet.presets.cells import Cell, Nothing, Operation, complete, edges, relu_conv_norm
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import PlannedPreset, asked, need_blocks, presets
from supernet.space import Architecture, Choice, SearchSpace

OPERATIONS: dict[str, Operation] = {
    "none": lambda channels, stride, affine: Nothing(),
    "skip_connect": lambda channels, stride, affine: nn.Identity(),
    "avg_pool_3x3": lambda channels, stride, affine: nn.AvgPool2d(3, stride, 1, count_include_pad=False),
    "nor_conv_1x1": lambda channels, stride, affine: relu_conv_norm(channels, channels, 1, stride, affine),
    "nor_conv_3x3": lambda channels, stride, affine: relu_conv_norm(channels, channels, 3, stride, affine),
}
"""By their published names, from the cheapest to the dearest."""
NODES = 4


class Reduction(nn.Module):
    """The fixed residual block between stages: half the resolution, other channels."""

    def __init__(self, into: int, out: int, affine: bool) -> None:
        super().__init__()
        self.conv_a = relu_conv_norm(into, out, 3, 2, affine)
        self.conv_b = relu_conv_norm(out, out, 3, 1, affine)
        self.downsample = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(into, out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Two convolutions beside a pooled shortcut."""
        out: Tensor = self.downsample(x) + self.conv_b(self.conv_a(x))
        return out


@presets.register("nasbench201")
@dataclass(frozen=True)
class NASBench201(PlannedPreset):
    """One cell of six edges: 5^6 = 15,625 subnets.

    As in the benchmark, several of them compute the same; every one has its row there.

    Args:
        cells: of a stage.
        widths: channels of each stage.
        classes: of the classifier.
        affine: whether batch norms scale and shift; off while searching, on to train one subnet.
        resolution: of the images.
    """

    cells: int = 5
    widths: tuple[int, ...] = (16, 32, 64)
    classes: int = 10
    affine: bool = False
    resolution: int = 32

    def __post_init__(self) -> None:
        need_blocks("cells", (self.cells,))

    @cached_property
    def graph(self) -> nx.DiGraph:
        """The states of a cell; 0 is its input, the last one its answer."""
        return complete(1, NODES - 1)

    @cached_property
    def space(self) -> SearchSpace:
        """An operation for every edge."""
        return SearchSpace(tuple(Choice(f"{j}.from_{i}", tuple(OPERATIONS)) for i, j in edges(self.graph)))

    def network(self) -> nn.Module:
        """The largest network, freshly initialised as PyTorch does."""
        into = self.widths[0]
        network = nn.Sequential()
        conv = nn.Conv2d(self.channels, into, 3, padding=1, bias=False)
        network.add_module("stem", nn.Sequential(conv, nn.BatchNorm2d(into)))
        cells: list[nn.Module] = []
        for width in self.widths:
            if cells:
                cells.append(Reduction(into, width, self.affine))
            cells += [self._cell(width) for _ in range(self.cells)]
            into = width
        network.add_module("cells", nn.Sequential(*cells))
        network.add_module("lastact", nn.Sequential(nn.BatchNorm2d(into), nn.ReLU()))
        network.add_module("global_pooling", nn.AdaptiveAvgPool2d(1))
        network.add_module("flatten", nn.Flatten())
        network.add_module("classifier", nn.Linear(into, self.classes))
        return network

    def _cell(self, width: int) -> Cell:
        operations = tuple(OPERATIONS.values())
        return Cell(self.graph, [nn.Identity()], operations, width, affine=self.affine, concat=False)

    def plan(self, network: nn.Module) -> Plan:
        """One candidate of every edge."""
        wiring = PlanBuilder(network, self.space)
        for cell in self._cells():
            for i, j in edges(self.graph):
                wiring.one_of(f"cells.{cell}.nodes.{j - 1}.from_{i}", f"{j}.from_{i}", tuple(OPERATIONS))
        return wiring.plan()

    def _cells(self) -> Iterator[int]:
        """Positions of the cells among the blocks; a reduction lies between two stages."""
        for stage in range(len(self.widths)):
            yield from (stage * (self.cells + 1) + i for i in range(self.cells))

    def dag(self, arch: Architecture) -> nx.DiGraph:
        """The cell of an architecture as a graph; its edges have an ``operation``."""
        values, graph = self.space.decode(arch), self.graph.copy()
        for i, j in edges(graph):
            graph.edges[i, j]["operation"] = values[f"{j}.from_{i}"]
        return graph

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """The architecture of ``{"arch": "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|"}``.

        Raises:
            ArchitectureError: for a missing key, a string of another form or an unknown operation.
        """
        text = str(asked(config, "arch"))
        found = [[entry.rpartition("~") for entry in node.split("|") if entry] for node in text.split("+")]
        expected = [[str(i) for i in range(j)] for j in range(1, NODES)]
        if [[i for _, _, i in node] for node in found] != expected or re.search(r"[^\w|~+]", text):
            raise ArchitectureError(
                f"the cell is {text!r}; it has to name an operation for every edge, like "
                f"{self.to_reference(self.space.largest())['arch']!r}"
            )
        return self.space.encode(
            {f"{j}.from_{i}": op for j, node in enumerate(found, 1) for op, _, i in node}
        )

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """``{"arch": "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"}``."""
        values = self.space.decode(arch)
        nodes = ["|".join(f"{values[f'{j}.from_{i}']}~{i}" for i in range(j)) for j in range(1, NODES)]
        return {"arch": "+".join(f"|{node}|" for node in nodes)}
