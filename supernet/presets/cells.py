"""Cells: a small directed acyclic graph of states whose edges are operations, repeated to make a network.

The graph is networkx's: nodes are the cell's inputs (numbered first) and the states computed from them; every edge
``(i, j)`` is a `OneOf` of candidates that works on state ``i`` for the sum ``j``. Operations are those of DARTS
(Liu et al., arXiv:1806.09055) and NAS-Bench-201 (Dong and Yang, arXiv:2001.00326), by their published names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import networkx as nx
import torch
from torch import Tensor, nn

from supernet.presets.candidates import Node, OneOf

Operation = Callable[[int, int, bool], nn.Module]
"""From channels, stride and whether batch norms scale and shift to a module that keeps the channels."""


def complete(inputs: int, nodes: int) -> nx.DiGraph:
    """The graph of a cell in which every state is read by all after it.

    Args:
        inputs: states that come from cells before it; they do not read each other.
        nodes: states of its own.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from(range(inputs + nodes))
    graph.add_edges_from((i, j) for j in range(inputs, inputs + nodes) for i in range(j))
    return graph


class Cell(nn.Module):
    """A cell of a network.

    Args:
        graph: of its states; edges need every earlier state, and the inputs come first.
        prepare: one module for each input, which brings it to the width of the cell.
        operations: candidates of every edge.
        channels: of every state.
        reduces: whether edges from the inputs halve the resolution.
        share: K: of partial channels, the first K-th works and the rest passes by.
        affine: whether batch norms scale and shift.
        concat: whether it answers with all its own states side by side, or with the last one.
    """

    def __init__(
        self,
        graph: nx.DiGraph,
        prepare: Sequence[nn.Module],
        operations: Sequence[Operation],
        channels: int,
        *,
        reduces: bool = False,
        share: int = 1,
        affine: bool = False,
        concat: bool = True,
    ) -> None:
        super().__init__()
        self.prepare = nn.ModuleList(prepare)
        inputs, working = len(prepare), channels // share
        self.own = [node for node in graph if graph.in_degree(node)]
        self.nodes = nn.ModuleList()
        for node in self.own:
            strides = [2 if reduces and i < inputs else 1 for i in sorted(graph.predecessors(node))]
            edges = [OneOf(*(make(working, stride, affine) for make in operations)) for stride in strides]
            self.nodes.append(Node(edges, share))
        self.working, self.share, self.concat = working, share, concat
        # What passes by an edge that halves the resolution is pooled.
        self.pool = nn.MaxPool2d(2, 2) if reduces and share > 1 else None

    def forward(self, *inputs: Tensor) -> Tensor:
        """The cell's answer to the answers of the cells before it, ``(batch, channels, height, width)`` each."""
        worked: list[Tensor] = []
        passed: list[Tensor] = []
        states: list[Tensor] = []
        for prepare, x in zip(self.prepare, inputs):
            self._split(prepare(x), worked, passed, self.pool)
        for node in self.nodes:
            states.append(node(worked, passed))
            self._split(states[-1], worked, passed, None)
        return torch.cat(states, 1) if self.concat else states[-1]

    def _split(
        self, state: Tensor, worked: list[Tensor], passed: list[Tensor], pool: nn.Module | None
    ) -> None:
        """Note the part of a state that goes through edges, and the part that passes by."""
        if self.share == 1:
            worked.append(state)
            return
        part, rest = torch.split(state, [self.working, state.shape[1] - self.working], 1)
        worked.append(part)
        passed.append(rest if pool is None else pool(rest))


def edges(graph: nx.DiGraph) -> Iterator[tuple[int, int]]:
    """The edges of a cell, state by state, each from the first predecessor on."""
    yield from ((i, j) for j in sorted(graph) for i in sorted(graph.predecessors(j)))


class Nothing(nn.Module):
    """NAS-Bench-201's ``none``: zeros of the input's shape, through which a gradient of zero flows."""

    def forward(self, x: Tensor) -> Tensor:
        """The input times zero."""
        return x * 0.0


class FactorizedReduce(nn.Module):
    """Half the resolution: two 1x1 convolutions of stride 2, one of them shifted by a pixel, side by side."""

    def __init__(self, into: int, out: int, affine: bool = False) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv_1 = nn.Conv2d(into, out // 2, 1, 2, bias=False)
        self.conv_2 = nn.Conv2d(into, out - out // 2, 1, 2, bias=False)
        self.bn = nn.BatchNorm2d(out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of half the side."""
        x = self.relu(x)
        out: Tensor = self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], 1))
        return out


def relu_conv_norm(
    into: int, out: int, kernel: int = 1, stride: int = 1, affine: bool = False
) -> nn.Sequential:
    """ReLU, convolution, batch norm."""
    conv = nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(out, affine=affine))


def max_pool(channels: int, stride: int, affine: bool) -> nn.Module:
    """DARTS' 3x3 maximum, normalised."""
    return nn.Sequential(nn.MaxPool2d(3, stride, 1), nn.BatchNorm2d(channels, affine=False))


def avg_pool(channels: int, stride: int, affine: bool) -> nn.Module:
    """DARTS' 3x3 mean over what lies inside the map, normalised."""
    pool = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    return nn.Sequential(pool, nn.BatchNorm2d(channels, affine=False))


def skip(channels: int, stride: int, affine: bool) -> nn.Module:
    """The input itself; where it strides, brought to half the resolution."""
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)


def separable(kernel: int) -> Operation:
    """ReLU, depth-wise, point-wise, batch norm; twice."""

    def make(channels: int, stride: int, affine: bool) -> nn.Module:
        """The module of one edge."""
        return nn.Sequential(
            *_depthwise(channels, kernel, stride, 1, affine), *_depthwise(channels, kernel, 1, 1, affine)
        )

    return make


def dilated(kernel: int) -> Operation:
    """ReLU, depth-wise of dilation 2, point-wise, batch norm."""

    def make(channels: int, stride: int, affine: bool) -> nn.Module:
        """The module of one edge."""
        return nn.Sequential(*_depthwise(channels, kernel, stride, 2, affine))

    return make


def _depthwise(channels: int, kernel: int, stride: int, dilation: int, affine: bool) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    ]
