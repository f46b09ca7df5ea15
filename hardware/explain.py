"""Where the milliseconds of a subnet go: its nodes in ONNX Runtime, folded back to the blocks of the supernet.

The network is traced anew, and every node gets a number that lasts through the optimiser of the runtime; what is
run carries the number of what it was made from. Profiling slows every node down a little, so that only shares are
taken from it: the milliseconds are those of calls that nobody watched.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import onnx_ir
from torch import Tensor

from hardware.bursts import no_garbage_collection, warm_up
from hardware.device import Device, local_device, pinned
from hardware.errors import DeviceError
from hardware.export import NONE_FREE, feed, translate, write_onnx
from hardware.node_names import module_of, module_paths, renamed
from hardware.onnx_session import OPTIMISED, OnnxSession
from hardware.options import MIXED, DeviceOptions, ProfileOptions
from supernet.elastic.inputs import Inputs
from supernet.elastic.slicing import is_present, named_tensors
from supernet.elastic.supernet import Supernet
from supernet.graph import graph
from supernet.space import Architecture
from supernet.stages import stages
from supernet.tasks.task import FreeAxes

RUNS = 200
"""Calls that are watched; a node takes whole microseconds in the trace, so many are needed."""
KERNEL = "_kernel_time"
_NUMBER = re.compile(r"@(\d+)@")


@dataclass(frozen=True)
class Place:
    """A block of the supernet.

    Args:
        stage: path of the stage it is in.
        block: its own path.
    """

    stage: str
    block: str


@dataclass(frozen=True)
class BlockTime:
    """What one block of a subnet takes.

    Args:
        stage: path of the stage it is in, in the supernet.
        block: its own path.
        ms: of one call.
        share: of the time of the whole.
        macs: multiply-adds of one example.
        macs_share: of those of the whole.
        nodes: nodes of the exported file.
        fused: those that are run by another node, or were computed beforehand, counted by operator.
        added: what the runtime put in, counted by operator: mostly changes of the layout in memory.
    """

    stage: str
    block: str
    ms: float
    share: float
    macs: int
    macs_share: float
    nodes: int
    fused: dict[str, int] = field(default_factory=dict)
    added: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Explanation:
    """Where the time of a subnet goes on a device.

    Args:
        arch: id of the architecture.
        device: where.
        total_ms: median of one call, unwatched.
        runs: calls that were watched.
        rows: block by block, in the order in which they run.
    """

    arch: str
    device: Device
    total_ms: float
    runs: int
    rows: tuple[BlockTime, ...]

    def by_stage(self) -> dict[str, float]:
        """Milliseconds of each stage."""
        found: dict[str, float] = {}
        for row in self.rows:
            found[row.stage] = found.get(row.stage, 0.0) + row.ms
        return found


def explain(
    supernet: Supernet,
    arch: Architecture,
    inputs: Inputs | Tensor,
    *,
    device: DeviceOptions | None = None,
    free_axes: FreeAxes = NONE_FREE,
    runs: int = RUNS,
) -> Explanation:
    """Time every node of a subnet in ONNX Runtime on this machine, and add them up block by block.

    Args:
        supernet: holds it, in eval mode.
        arch: which subnet.
        inputs: what it takes, of any batch.
        device: how to use the machine.
        free_axes: further axes of any length, as `export_onnx` takes them.
        runs: calls to watch.

    Raises:
        ArchitectureError: for an architecture of another space.
        DeviceError: for a device elsewhere, or another runtime: only ONNX Runtime tells of its nodes.
        ExportError: when the subnet cannot be exported.
    """
    used = device or DeviceOptions()
    if used.address or used.runtime != "onnxruntime":
        raise DeviceError(
            f"{used.name or used.address or used.runtime} cannot be explained: only onnxruntime on this machine "
            f"tells the time of each node; leave out --device, or name one of that kind"
        )
    if used.precision == MIXED:
        raise DeviceError(
            f"{used.name or 'the device'} runs stages in eight bits, which have no nodes of their own in the supernet; "
            f"explain the network on a device with precision fp32"
        )
    here, shown = local_device(used), Inputs.of(inputs).with_batch(used.batch)
    subnet = supernet.extract(supernet.space.check(arch)).eval()
    model = translate(subnet, shown, free_axes).model
    nodes = number_nodes(model)
    with tempfile.TemporaryDirectory() as name, pinned(used), no_garbage_collection():
        folder = Path(name)
        file = write_onnx(model, subnet, folder / "model.onnx", {}).path

        def session(trace: Path | None) -> OnnxSession:
            """The file, loaded and warm."""
            made = OnnxSession(str(file), here.optimisation, here.threads, trace)
            made.give(feed(shown, made.inputs))
            warm_up(made, ProfileOptions())
            return made

        total_ms = median(session(None).burst(runs)) / 1e6
        watched = session(folder)
        watched.burst(runs)
        taken = shares(read_trace(watched.end_trace()), runs)
        run = onnx.load(folder / OPTIMISED, load_external_data=False).graph
    ran = Run(taken, _of_all(taken, origins(run)), operators(run))
    rows = _fold(supernet, arch, own_paths(supernet, arch), nodes, ran, total_ms)
    return Explanation(arch.id, here, total_ms, runs, tuple(rows))


@dataclass(frozen=True)
class Node:
    """A node of an exported file: its operator, and the path of the module it was traced in."""

    operator: str
    path: str


@dataclass(frozen=True)
class Run:
    """What the runtime made of a file.

    Args:
        shares: of the time, by the name of a node as it is run.
        origins: number of the node of the file that it comes from, likewise.
        operators: what it does, likewise.
    """

    shares: Mapping[str, float]
    origins: Mapping[str, int]
    operators: Mapping[str, str]


def number_nodes(model: onnx_ir.Model) -> list[Node]:
    """Name every node of a graph, and what it answers, by its number; returns what they were.

    Optimisers name a node after the one it replaces, or after what that one answered.
    """
    found: list[Node] = []
    for i, node in enumerate(model.graph):
        found.append(Node(node.op_type, module_of(node)))
        node.name = f"@{i}@"
        for j, value in enumerate(node.outputs):
            if not value.is_graph_output():
                value.name = f"@{i}@{j}"
    return found


def own_paths(supernet: Supernet, arch: Architecture) -> dict[str, str]:
    """Paths of the modules of a subnet, and where each is in the supernet: lists of modules have closed their gaps."""
    absent = supernet.slices(arch).absent
    kept = [name for name, _ in named_tensors(supernet.largest) if is_present(name, absent)]
    own = [name for name, _ in named_tensors(supernet.extract(arch))]
    return module_paths(zip(own, kept) if len(kept) == len(own) else ())


def read_trace(path: Path) -> dict[str, list[int]]:
    """Microseconds of every node in every call, by the name of the node."""
    found: dict[str, list[int]] = {}
    for event in json.loads(path.read_text()):
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            found.setdefault(event["name"].removesuffix(KERNEL), []).append(int(event["dur"]))
    return found


def shares(microseconds: Mapping[str, Sequence[int]], runs: int) -> dict[str, float]:
    """The share of each node in the time of a call: the median over the last calls, which add up to one.

    A node of a few microseconds is timed in whole ones; its middle half is averaged, as a median would be as coarse.
    """
    names = list(microseconds)
    table = np.array([list(microseconds[name])[-runs:] for name in names], dtype=float)
    of_call = np.sort(table / np.maximum(table.sum(axis=0), 1), axis=1)
    quarter = of_call.shape[1] // 4
    middle = of_call[:, quarter : of_call.shape[1] - quarter].mean(axis=1)
    return dict(zip(names, (middle / middle.sum()).tolist()))


def operators(run: onnx.GraphProto) -> dict[str, str]:
    """What each node does, by its name."""
    return {node.name: node.op_type for node in run.node}


def origins(run: onnx.GraphProto) -> dict[str, int]:
    """The number of the node of the file from which each node comes that is run.

    What the runtime put in belongs to the node whose answer it takes; where that has no number, to the one that takes
    its own, or else to the one that is run before it.
    """
    found = {node.name: int(number[1]) for node in run.node if (number := _NUMBER.search(node.name))}
    makers = {value: node.name for node in run.node for value in node.output}
    takers = {value: node.name for node in reversed(run.node) for value in node.input}
    last = min(found.values(), default=0)
    for node in run.node:  # in the order in which they are run
        near = [*(makers.get(value) for value in node.input), *(takers.get(value) for value in node.output)]
        known = [found[name] for name in near if name in found]
        last = found.setdefault(node.name, known[0] if known else last)
    return found


def _of_all(taken: Iterable[str], known: Mapping[str, int]) -> dict[str, int]:
    """The same for every node that took time, in the order in which they ran.

    Without optimisation the runtime writes out what a node is made of under names of its own: that belongs to the node
    before it.
    """
    found, last = dict[str, int](), 0
    for name in taken:
        last = found[name] = known.get(name, last)
    return found


def _fold(
    supernet: Supernet,
    arch: Architecture,
    paths: Mapping[str, str],
    nodes: Sequence[Node],
    run: Run,
    total_ms: float,
) -> Iterator[BlockTime]:
    """One row for each block."""
    within = [Place(stage.path, block.path) for stage in stages(supernet, arch) for block in stage.blocks]
    calls = [call for _, call in sorted(graph(supernet, arch).nodes(data=True))]
    batch, multiplied = supernet.costs().batch, Counter[Place]()
    for place, call in zip(places((call["module"] for call in calls), within), calls):
        multiplied[place] += call["macs"] // batch
    of_node = list(places((renamed(node.path, paths) for node in nodes), within))
    macs = sum(multiplied.values()) or 1
    for place in dict.fromkeys([*within, *of_node]):
        mine = [i for i, other in enumerate(of_node) if other == place]
        names = [name for name in run.shares if run.origins.get(name) in mine]
        written = Counter(nodes[i].operator for i in mine)
        own = Counter(run.operators[name] for name in names if _NUMBER.search(name))
        share = sum(run.shares[name] for name in names)
        yield BlockTime(
            place.stage,
            place.block,
            share * total_ms,
            share,
            multiplied[place],
            multiplied[place] / macs,
            len(mine),
            dict(written - own),
            dict(Counter(run.operators.get(name, name) for name in names if not _NUMBER.search(name))),
        )


def places(modules: Iterable[str], within: Sequence[Place]) -> Iterator[Place]:
    """The block that each of some modules is in, in the order in which they run.

    One that is in none (a norm or a pooling between two stages) belongs to the block before it.
    """
    known = sorted(within, key=lambda place: len(place.block), reverse=True)
    before = within[0] if within else Place("", "")
    for module in modules:
        inside = (p for p in known if p.block and f"{module}.".startswith(f"{p.block}."))
        before = next(inside, before)
        yield before
