"""An architecture as a graph: what it computes, drawn, named by its structure and compared with another.

A node is a call that computes something (reshapes are not), an edge a result that is read. The graph is
derived from the traced calls of the supernet; no subnet is made. Graphs do not hold the names of choices
or genes: two genomes, even of two spaces, that compute the same have the same `canonical_hash`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import networkx as nx

from supernet.elastic.costs import passes_on
from supernet.elastic.layout import AxisLayout
from supernet.elastic.supernet import Supernet
from supernet.errors import SupernetError
from supernet.space import Architecture

COMMUTATIVE = frozenset({"add", "mul", "add_", "mul_"})
FORMATS = (".png", ".svg", ".pdf")


def graph(supernet: Supernet, arch: Architecture, shape: Sequence[int] | None = None) -> nx.DiGraph:
    """The calls of one architecture and what they read of each other.

    Nodes are numbered in the order of the calls; each has ``op`` (the aten name), ``module`` (its path),
    ``shape`` of the result for the traced batch, ``weights`` (shapes of the parameters it reads, by name)
    and ``macs``. An edge has the ``slots`` of the reader's arguments that it fills.

    Args:
        shape: of the input, batch first; None for the one the supernet was traced with.

    Raises:
        ArchitectureError: when ``arch`` is of another space.
        ConversionError: when no shape is known.
    """
    costs = supernet.costs(shape)
    sizes = costs.plan.sizes(arch)
    slices = supernet.plan.slices(supernet.largest, arch)
    stored = dict(supernet.largest.named_parameters())
    passes = passes_on(costs.plan, costs.ops)
    found = nx.DiGraph()
    stands_for: dict[int, int | None] = {}
    for i, op in enumerate(costs.ops):
        if not all(sizes[switch] for switch in costs.switches[i]):
            passed = [source for switch, source in passes.get(i, ()) if not sizes[switch]]
            stands_for[i] = stands_for[passed[0]] if passed else None
            continue
        if op.alias is not None and op.alias >= 0 and not op.tensors and not op.name.endswith("_"):
            stands_for[i] = stands_for[op.alias]
            continue
        stands_for[i] = i
        weights = {
            name: tuple(slices.tensors.get(name, stored[name]).shape) for name in op.tensors if name in stored
        }
        found.add_node(
            i,
            op=op.name,
            module=op.module,
            shape=_lengths(op.shape, sizes),
            weights=weights,
            macs=sum(prod(_lengths(part, sizes)) for part in op.macs),
        )
        for slot, source in enumerate(op.inputs):
            start = stands_for[source]
            if start is not None and found.has_edge(start, i):
                found.edges[start, i]["slots"] += (slot,)
            elif start is not None:
                found.add_edge(start, i, slots=(slot,))
    return found


def _lengths(layouts: Iterable[AxisLayout], sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(layout.length(sizes) for layout in layouts)


def canonical_hash(network: nx.DiGraph) -> str:
    """Sixteen hexadecimal digits that are equal for equal computations, whatever modules are called.

    Every node is named by its op, its sizes and the names of what it reads, in order where order
    matters; so equal digits mean equal graphs, where Weisfeiler-Lehman digits may collide.
    """
    digests: dict[int, str] = {}
    for node in nx.topological_sort(network):
        read = [
            (slot, digests[source])
            for source, _, data in network.in_edges(node, data=True)
            for slot in data["slots"]
        ]
        inputs = [digest for _, digest in sorted(read)]
        own = network.nodes[node]
        if own["op"] in COMMUTATIVE:
            inputs.sort()
        text = json.dumps([own["op"].rstrip("_"), own["shape"], list(own["weights"].values()), inputs])
        digests[node] = hashlib.sha256(text.encode()).hexdigest()
    return hashlib.sha256(json.dumps(sorted(digests.values())).encode()).hexdigest()[:16]


def condensed(network: nx.DiGraph, numbers: int = 2) -> nx.DiGraph:
    """The same graph with the calls of a block drawn together.

    Args:
        numbers: a block is a module path up to its n-th number: ``blocks.1.0`` for 2, ``blocks.1`` for 1.

    Returns:
        Nodes with ``module``, ``shape`` (of the last call), ``calls``, ``macs`` and ``params``.
    """
    blocks = nx.DiGraph()
    block_of: dict[int, int] = {}
    last: tuple[str, int] | None = None
    for node in sorted(network):
        own = network.nodes[node]
        path = _upto(own["module"], numbers)
        if last is None or last[0] != path or not path:
            last = (path, node)
            blocks.add_node(node, module=path or own["op"], shape=(), calls=0, macs=0, params=0)
        block = blocks.nodes[last[1]]
        block_of[node] = last[1]
        block["shape"] = own["shape"] or block["shape"]
        block["calls"] += 1
        block["macs"] += own["macs"]
        block["params"] += sum(prod(shape) for shape in own["weights"].values())
    edges = ((block_of[a], block_of[b]) for a, b in network.edges)
    blocks.add_edges_from((a, b) for a, b in edges if a != b)
    return blocks


def _upto(path: str, numbers: int) -> str:
    """A module path up to its n-th number; all of it when it has fewer."""
    kept: list[str] = []
    for step in path.split("."):
        kept.append(step)
        numbers -= step.isdigit()
        if numbers == 0:
            break
    return ".".join(kept)


def draw(network: nx.DiGraph, path: Path, title: str = "") -> Path:
    """A picture of a graph or a condensed one, from top to bottom; PNG, SVG or PDF by the file's name.

    Raises:
        SupernetError: for a file of another kind.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if path.suffix not in FORMATS:
        raise SupernetError(
            f"a picture was asked for as {path.name!r}; the name can end in {', '.join(FORMATS)}"
        )
    where, rows = _places(network)
    wide = 1 + max((abs(x) for x, _ in where.values()), default=0) * 2
    figure = Figure(figsize=(2.6 * wide + 0.6, 0.62 * rows + 0.8))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-wide / 2 - 0.1, wide / 2 + 0.1)
    axes.set_ylim(-rows + 0.4, 1.1)
    axes.text(0, 0.75, title, ha="center", va="center", fontsize=11, weight="bold")
    for a, b in network.edges:
        rows_down = where[a][1] - where[b][1]
        # A longer arc is a flatter one, so that all of them stay on the page.
        bend = f"arc3,rad={2.5 / rows_down:.3f}" if rows_down > 1.5 and where[a][0] == where[b][0] else "arc3"
        arrow = {"arrowstyle": "-|>", "color": "0.45", "shrinkA": 11, "shrinkB": 11, "connectionstyle": bend}
        axes.annotate("", where[b], where[a], arrowprops=arrow)
    for node, (x, y) in where.items():
        box = {"boxstyle": "round,pad=0.3", "facecolor": "#eef3f8", "edgecolor": "0.4"}
        axes.text(x, y, _label(network.nodes[node]), ha="center", va="center", fontsize=7.5, bbox=box)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _places(network: nx.DiGraph) -> tuple[dict[int, tuple[float, float]], int]:
    """A place for every node, below all it reads; and the number of rows."""
    where: dict[int, tuple[float, float]] = {}
    rows = list(nx.topological_generations(network))
    for row, nodes in enumerate(rows):
        for i, node in enumerate(sorted(nodes)):
            where[node] = (i - (len(nodes) - 1) / 2, -float(row))
    return where, len(rows)


def _label(node: dict[str, object]) -> str:
    shape = "x".join(map(str, node["shape"][1:])) if isinstance(node["shape"], tuple) else ""
    if "calls" in node:
        return f"{node['module']}   {shape}\n{node['macs']:,} MACs   {node['params']:,} parameters"
    return f"{node['op']}   {shape}\n{node['module']}"


@dataclass(frozen=True)
class Change:
    """How one stage of two architectures differs.

    Args:
        stage: module path up to its first number.
        blocks: of the first and of the second: parts directly below the stage that compute something.
        macs: of the first and of the second, for the traced batch.
        params: of the first and of the second.
        choices: what was chosen differently, ``"blocks.1.0.kernel 3 -> 5"``; ``-`` where it does not matter.
    """

    stage: str
    blocks: tuple[int, int]
    macs: tuple[int, int]
    params: tuple[int, int]
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Diff:
    """Two architectures side by side, stage by stage; ``str(diff)`` is the table."""

    changes: tuple[Change, ...]

    def __str__(self) -> str:
        table = [("stage", "blocks", "MACs", "parameters", "chosen differently")]
        for change in self.changes:
            numbers = [_arrow(pair) for pair in (change.blocks, change.macs, change.params)]
            first, *others = change.choices or ("",)
            table.append((change.stage, numbers[0], numbers[1], numbers[2], first))
            table += [("", "", "", "", other) for other in others]
        widths = [max(len(row[i]) for row in table) for i in range(5)]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in table)


def diff(
    supernet: Supernet, first: Architecture, second: Architecture, shape: Sequence[int] | None = None
) -> Diff:
    """What two architectures do differently, per stage, in the order of the network.

    Raises:
        ArchitectureError: when one is of another space.
        ConversionError: when no shape of the input is known.
    """
    sides = [_stages(graph(supernet, arch, shape)) for arch in (first, second)]
    chosen = [supernet.space.decode(arch) for arch in (first, second)]
    differing: dict[str, list[str]] = {}
    for choice in supernet.space.choices:
        values = [side.get(choice.name, "-") for side in chosen]
        if values[0] != values[1]:
            text = f"{choice.name} {values[0]} -> {values[1]}"
            differing.setdefault(_upto(choice.name.rpartition(".")[0], 1), []).append(text)
    names = sorted(
        {**sides[0], **sides[1]}, key=lambda stage: min(side[stage].first for side in sides if stage in side)
    )
    empty = _Stage(0, set(), 0, 0)
    changes = []
    for stage in [*names, *(stage for stage in differing if stage not in names)]:
        a, b = (side.get(stage, empty) for side in sides)
        pairs = ((len(a.blocks), len(b.blocks)), (a.macs, b.macs), (a.params, b.params))
        changes.append(Change(stage, *pairs, tuple(differing.get(stage, ()))))
    return Diff(tuple(changes))


@dataclass
class _Stage:
    first: int
    blocks: set[str]
    macs: int
    params: int


def _stages(network: nx.DiGraph) -> dict[str, _Stage]:
    stages: dict[str, _Stage] = {}
    counted: set[str] = set()
    for node in sorted(network):
        own = network.nodes[node]
        stage = stages.setdefault(_upto(own["module"], 1) or "(network)", _Stage(node, set(), 0, 0))
        stage.blocks.add(_upto(own["module"], 2))
        stage.macs += own["macs"]
        fresh = {name: shape for name, shape in own["weights"].items() if name not in counted}
        stage.params += sum(prod(shape) for shape in fresh.values())
        counted |= fresh.keys()
    return stages


def _arrow(pair: tuple[int, int]) -> str:
    return f"{pair[0]:,}" if pair[0] == pair[1] else f"{pair[0]:,} -> {pair[1]:,}"
