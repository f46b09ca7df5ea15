"""Cell spaces: as large as published, read and written in the words of their authors, computed as written by hand."""

from __future__ import annotations

from random import Random
from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor, nn

from supernet.elastic.relaxation import Relaxation
from supernet.elastic.supernet import Supernet
from supernet.errors import ArchitectureError, SpaceError
from supernet.presets import DARTS, NASBench201
from supernet.presets.candidates import interleaved
from supernet.presets.cells import Cell

TINY: dict[str, Any] = {"cells": 3, "width": 4, "nodes": 2, "classes": 4}


def images(side: int = 16) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def soft(supernet: Supernet, seed: int = 0) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(len(members), generator=rng, dtype=torch.float64).softmax(0).requires_grad_()
        for name, members in supernet.relaxable.members.items()
    }


def close(ours: Tensor, expected: Tensor) -> bool:
    return bool((ours - expected).norm() <= 1e-12 * expected.norm())


def test_the_spaces_are_as_large_as_published() -> None:
    assert NASBench201().space.size == 15_625
    assert DARTS().space.size == (1 * 3 * 6 * 10 * 7**8) ** 2


def test_the_largest_cell_of_nasbench201_has_the_parameters_of_its_table() -> None:
    preset = NASBench201(affine=True)
    with torch.device("meta"):
        network = preset.network()
    dearest = [f".{i}." for i in range(4)]
    held = sum(
        p.numel()
        for n, p in network.named_parameters()
        if not any(f"from_{j}{d}" in n for j in range(3) for d in dearest)
    )
    assert held == 1_531_546


def test_the_published_cell_of_pc_darts_is_read_and_written() -> None:
    genotype: dict[str, Any] = {
        "normal": [
            ["sep_conv_3x3", 1], ["skip_connect", 0], ["sep_conv_3x3", 0], ["dil_conv_3x3", 1],
            ["sep_conv_5x5", 0], ["sep_conv_3x3", 1], ["avg_pool_3x3", 0], ["dil_conv_3x3", 1],
        ],
        "reduce": [
            ["sep_conv_5x5", 1], ["max_pool_3x3", 0], ["sep_conv_5x5", 1], ["sep_conv_5x5", 2],
            ["sep_conv_3x3", 0], ["sep_conv_3x3", 3], ["sep_conv_3x3", 1], ["sep_conv_3x3", 2],
        ],
    }  # fmt: skip
    preset = DARTS()
    arch = preset.from_reference(genotype)
    written = preset.to_reference(arch)
    for kind in ("normal", "reduce"):
        edges = [written[kind][2 * i : 2 * i + 2] for i in range(4)]
        assert edges == [sorted(genotype[kind][2 * i : 2 * i + 2], key=lambda e: int(e[1])) for i in range(4)]
    assert nx.is_directed_acyclic_graph(preset.dag(arch, "normal"))
    assert all(preset.dag(arch, "reduce").in_degree(node) == 2 for node in range(2, 6))


@pytest.mark.parametrize(
    "normal", [[["sep_conv_3x3", 0]] * 8, [["sep_conv_3x3", 0], ["skip_connect", 4]] * 4, [["none", 0]] * 7]
)
def test_a_genotype_of_other_edges_is_refused(normal: list[list[Any]]) -> None:
    with pytest.raises(ArchitectureError):
        DARTS().from_reference({"normal": normal, "reduce": normal})


def test_a_nasbench201_string_is_read_whole_or_refused() -> None:
    preset = NASBench201()
    text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|none~2|"
    assert preset.to_reference(preset.from_reference({"arch": text})) == {"arch": text}
    for broken in (text[:-8], text.replace("~2", "~1"), text + "+|none~0|", text.replace("none", "nothing")):
        with pytest.raises(ArchitectureError):
            preset.from_reference({"arch": broken})


def test_a_width_that_share_does_not_divide_is_refused() -> None:
    with pytest.raises(SpaceError, match="share is 3 and width 16"):
        DARTS(share=3)


@pytest.mark.parametrize(
    "preset", [DARTS(**TINY), DARTS(**TINY, share=2), NASBench201(cells=1, widths=(4, 8))]
)
def test_a_relaxation_of_ones_and_zeros_is_the_architecture(preset: Any) -> None:
    supernet = preset.supernet().double().eval()
    arch, x = preset.space.sample(Random(0)), images()
    with torch.no_grad():
        expected = supernet(x, arch)
        relaxation = supernet.relaxable.one_hot(arch, x)
        for only_active in (False, True):
            one = Relaxation(relaxation.weights, arch, only_active)
            assert close(supernet(x, one), expected)
            assert close(supernet.subnet(one)(x), expected)
    assert supernet.relaxable.leaning(relaxation) == arch


def by_hand(
    cell: Cell, share: int, reduces: bool, kind: str, weights: dict[str, Tensor], a: Tensor, b: Tensor
) -> Tensor:
    """PC-DARTS as its paper writes it, edge by edge; with K = 1, DARTS with weights on edges."""
    states = [prepare(x) for prepare, x in zip(cell.prepare, (a, b))]
    pool = nn.MaxPool2d(2, 2)
    for j, node in enumerate(cell.nodes, 2):
        total: Any = 0
        for i, edge in enumerate(node.children()):
            x, q = states[i], states[i].shape[1] // share
            through = sum(w * op(x[:, :q]) for w, op in zip(weights[f"{kind}.{j}.from_{i}"], edge.children()))
            rest = pool(x[:, q:]) if reduces and i < 2 and share > 1 else x[:, q:]
            whole = torch.cat([through, rest], 1) if share > 1 else through
            n, c, h, w = whole.shape
            shuffled = whole.view(n, share, c // share, h, w).transpose(1, 2).reshape(n, c, h, w)
            total = total + weights[f"{kind}.{j}.inputs"][i] * shuffled
        states.append(total)
    return torch.cat(states[2:], 1)


@pytest.mark.parametrize("share", [1, 2, 4])
def test_mixed_cells_compute_what_the_papers_write(share: int) -> None:
    preset = DARTS(**{**TINY, "width": 8}, share=share)
    supernet = preset.supernet().double().train()
    weights, x = soft(supernet), images(8)
    network = supernet.largest
    before = last = network.stem(x)  # type: ignore[operator]
    for cell, (kind, _) in zip(network.cells, preset._cells()):  # type: ignore[arg-type]
        before, last = last, by_hand(cell, share, kind == "reduce", kind, weights, before, last)
    expected = network.classifier(last.mean((2, 3)))  # type: ignore[operator]
    learning = [*weights.values(), *supernet.parameters()]
    theirs = torch.autograd.grad(expected.square().sum(), learning)
    answer = supernet(x, Relaxation(weights, preset.space.largest()))
    ours = torch.autograd.grad(answer.square().sum(), learning)
    assert close(answer, expected)
    # Over all together: what is zero but for rounding has no relative error of its own.
    assert close(torch.cat([g.flatten() for g in ours]), torch.cat([g.flatten() for g in theirs]))
    assert all((a - b).norm() <= 1e-12 * max(b.norm(), torch.ones(())) for a, b in zip(ours, theirs))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_interleaving_is_the_channel_shuffle_and_keeps_the_layout(layout: torch.memory_format) -> None:
    groups = [torch.randn(2, 3, 4, 5).contiguous(memory_format=layout) for _ in range(4)]
    shuffled = torch.cat(groups, 1).view(2, 4, 3, 4, 5).transpose(1, 2).reshape(2, 12, 4, 5)
    out = interleaved(groups)
    assert torch.equal(out, shuffled)
    assert out.is_contiguous(memory_format=layout)
