"""Architectures as graphs."""

from __future__ import annotations

from pathlib import Path
from random import Random

import networkx as nx
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from supernet.elastic.plan import Plan
from supernet.elastic.supernet import Supernet
from supernet.errors import ConversionError, SupernetError
from supernet.graph import canonical_hash, condensed, diff, draw, graph
from supernet.space import Architecture, SearchSpace
from tests.tiny import tiny_images, tiny_supernet

SHAPE = (1, 3, 32, 32)


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    return tiny_supernet()


def some(supernet: Supernet, count: int) -> list[Architecture]:
    archs = {supernet.space.sample(Random(seed)) for seed in range(2 * count)}
    return sorted(archs, key=lambda arch: arch.genes)[:count]


def test_the_graph_is_that_of_the_cut_out_networks_own_trace(supernet: Supernet) -> None:
    for arch in (supernet.space.smallest(), supernet.space.sample(Random(3))):
        alone = Supernet(supernet.extract(arch), Plan(SearchSpace(()), {}, {}))
        found, own = graph(supernet, arch, SHAPE), graph(alone, alone.space.largest(), SHAPE)
        assert canonical_hash(found) == canonical_hash(own)
        assert nx.is_isomorphic(
            found, own, node_match=lambda a, b: (a["op"], a["shape"]) == (b["op"], b["shape"])
        )


def test_the_hash_tells_every_architecture_from_every_other(supernet: Supernet) -> None:
    archs = some(supernet, 30)
    assert len({canonical_hash(graph(supernet, arch, SHAPE)) for arch in archs}) == len(archs)


def test_the_hash_forgets_names_and_the_order_of_a_sum() -> None:
    def sum_of(first: str, swapped: bool) -> nx.DiGraph:
        made = nx.DiGraph()
        for i, (op, width) in enumerate([("conv2d", 4), ("relu", 4), ("add", 4)]):
            made.add_node(i, op=op, module=f"{first}.{i}", shape=(1, width), weights={}, macs=0)
        made.add_edge(0, 1, slots=(0,))
        made.add_edge(0, 2, slots=(int(swapped),))
        made.add_edge(1, 2, slots=(int(not swapped),))
        return made

    assert canonical_hash(sum_of("a", False)) == canonical_hash(sum_of("b", True))


def test_a_graph_is_acyclic_connected_and_counts_the_macs(supernet: Supernet) -> None:
    arch = supernet.space.sample(Random(5))
    found = graph(supernet, arch, SHAPE)
    assert nx.is_directed_acyclic_graph(found)
    assert nx.is_weakly_connected(found)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        supernet.extract(arch)(tiny_images(1))
    assert sum(macs for _, macs in found.nodes(data="macs")) == flops.get_total_flops() // 2
    blocks = condensed(found)
    assert nx.is_directed_acyclic_graph(blocks)
    assert sum(macs for _, macs in blocks.nodes(data="macs")) == flops.get_total_flops() // 2
    alone = sum(parameter.numel() for parameter in supernet.extract(arch).parameters())
    assert sum(params for _, params in blocks.nodes(data="params")) == alone


@pytest.mark.parametrize("name", ["a.png", "deep/b.svg"])
def test_a_graph_is_drawn(supernet: Supernet, tmp_path: Path, name: str) -> None:
    found = graph(supernet, supernet.space.smallest(), SHAPE)
    for drawn in (found, condensed(found)):
        path = draw(drawn, tmp_path / name, "the smallest")
        assert path.stat().st_size > 1000
    with pytest.raises(SupernetError, match=r"a\.gif.*\.png, \.svg"):
        draw(found, tmp_path / "a.gif")


def test_a_diff_says_per_stage_what_was_chosen_differently(supernet: Supernet) -> None:
    space = supernet.space
    values = space.decode(space.largest())
    other = space.encode(
        {n: v for n, v in values.items() if not n.startswith("blocks.2.1")} | {"blocks.2.1.present": 0}
    )
    found = diff(supernet, space.largest(), other, SHAPE)
    changed = [change for change in found.changes if change.choices]
    assert [change.stage for change in changed] == ["blocks.2"]
    assert changed[0].blocks == (2, 1)
    assert changed[0].choices[0] == "blocks.2.1.present 1 -> 0"
    assert "blocks.2.1.width 64 -> -" in changed[0].choices
    assert all(change.macs[0] == change.macs[1] for change in found.changes if change.stage != "blocks.2")
    for arch, side in ((space.largest(), 0), (other, 1)):
        params = sum(parameter.numel() for parameter in supernet.extract(arch).parameters())
        assert sum(change.params[side] for change in found.changes) == params
    assert "2 -> 1" in str(found)


def test_without_a_trace_or_a_shape_there_is_no_graph(supernet: Supernet) -> None:
    with pytest.raises(ConversionError, match="shape"):
        graph(tiny_supernet(), supernet.space.largest())
