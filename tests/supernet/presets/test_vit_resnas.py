"""ViT-ResNAS: optional blocks are independent, and published definitions are read whole or refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet.elastic.supernet import Supernet
from supernet.errors import ArchitectureError
from supernet.presets import ViTResNASSmall, ViTResNASTiny
from supernet.presets.preset import rebuilt

# Per stage the embedding, then heads and hidden width of each block (arXiv:2109.00642, the networks searched for
# 1.8, 2.9 and 4.6 GMACs); absent blocks are not listed, as in the definitions their authors trained.
Stage = tuple[int, Sequence[tuple[int, int]]]
TINY: list[Stage] = [
    (176, [(3, 704), (3, 576), (3, 640), (4, 576), (4, 704)]),
    (352, [(10, 1408), (8, 1408), (8, 1280), (8, 1408), (10, 1280), (10, 1024)]),
    (704, [(10, 2560), (10, 1792), (10, 2816), (8, 2816), (8, 2560)]),
]
SMALL: list[Stage] = [
    (220, [(5, 880), (5, 880), (7, 800), (5, 720), (5, 720), (5, 720)]),
    (440, [(10, 1760), (10, 1440), (10, 1920), (10, 1600), (12, 1600), (12, 1440)]),
    (880, [(16, 3200), (12, 3200), (16, 2880), (12, 2240), (14, 2560)]),
]
MEDIUM: list[Stage] = [
    (240, [(7, 960), (6, 960), (7, 800), (8, 960), (7, 880), (8, 880), (6, 800)]),
    (640, [(10, 1120), (14, 1760), (14, 1920), (16, 1760), (14, 1440), (16, 1760), (16, 1920)]),
    (880, [(16, 3200), (10, 3840), (16, 3840), (12, 3200), (16, 3520), (14, 3520)]),
]


def definition(stages: Sequence[Stage]) -> list[list[Any]]:
    """The reference's own form, as JSON has it."""
    entries: list[list[Any]] = [[4, stages[0][0]]]
    for i, (width, blocks) in enumerate(stages):
        if i:
            entries.append([3, stages[i - 1][0], width])
        entries += [[1, [width, heads, (32, 48, 64)[i]], [width, hidden], 1] for heads, hidden in blocks]
    return [*entries, [2, stages[-1][0], 1000]]


@pytest.mark.parametrize(
    ("preset", "stages", "blocks", "params"),
    [
        (ViTResNASTiny(), TINY, 16, 40_793_552),
        (ViTResNASSmall(), SMALL, 17, None),
        (ViTResNASSmall(), MEDIUM, 20, None),
    ],
    ids=["tiny", "small", "medium"],
)
def test_a_published_searched_network_is_read_without_losing_a_block(
    preset: ViTResNASTiny, stages: list[Stage], blocks: int, params: int | None
) -> None:
    assert sum(len(own) for _, own in stages) == blocks
    arch = preset.from_reference({"network_def": definition(stages)})
    with torch.device("meta"):
        subnet = preset.supernet().extract(arch)
    counted = sum(parameter.numel() for parameter in subnet.parameters())
    assert counted == by_hand(stages) == (params or counted)
    again = preset.from_reference(json.loads(json.dumps(preset.to_reference(arch))))
    assert again == arch


def by_hand(stages: Sequence[Stage]) -> int:
    """Parameters of the network a definition stands for, layer by layer."""
    total = 3 * 24 * 9 + 2 * 24 * 24 * 9 + 3 * 2 * 24 + (24 * 49 + 1) * stages[0][0]
    total += stages[0][0] * (1 + 257)
    for i, (width, blocks) in enumerate(stages):
        if i:
            into = stages[i - 1][0]
            total += 2 * into + (9 * into + 1) * width + (into + 1) * width + (16 >> i) ** 2 * width
        for heads, hidden in blocks:
            inner = heads * (32, 48, 64)[i]
            total += 4 * width + (width + 1) * 3 * inner + (inner + 1) * width
            total += (width + 1) * hidden + (hidden + 1) * width
    return total + 2 * width + (width + 1) * 1000


def test_the_space_holds_as_many_networks_as_independent_blocks_make() -> None:
    assert f"{ViTResNASTiny().space.size:.2e}" == "1.92e+28"
    assert f"{ViTResNASSmall().space.size:.1e}" == "4.2e+32"


@cache
def little() -> tuple[ViTResNASTiny, Supernet, nn.Module]:
    """A narrow preset, its supernet, and the same largest network as a plain module."""
    preset = ViTResNASTiny(widths=(64, 128, 256), resolution=56, classes=4)
    supernet = preset.supernet().eval()
    plain = rebuilt(supernet.origin or {}).eval()
    plain.load_state_dict(supernet.largest.state_dict())
    return preset, supernet, plain


def walked(plain: Any, x: Tensor, patterns: Sequence[Sequence[int]]) -> Tensor:
    """The largest network with optional blocks left out by hand: ``patterns`` has a 0 for each of a stage."""
    tokens = torch.cat([plain.cls_token.expand(len(x), -1, -1), plain.stem(x)], 1) + plain.pos_embed
    for i, pattern in enumerate(patterns):
        tokens = plain.stages[2 * i - 1](tokens) if i else tokens
        for j, block in enumerate(plain.stages[2 * i]):
            tokens = block(tokens) if j % 2 == 0 or pattern[j // 2] else tokens
    out: Tensor = plain.head(plain.norm(tokens[:, 0]))
    return out


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_all_eight_patterns_of_a_stage_run_as_when_the_blocks_are_walked_by_hand(stage: int) -> None:
    preset, supernet, plain = little()
    x = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    outputs = []
    for pattern in product((0, 1), repeat=3):
        patterns = [(1, 1, 1)] * stage + [pattern] + [(1, 1, 1)] * (2 - stage)
        entries = list(preset.to_reference(preset.space.largest())["network_def"])
        blocks = [k for k, entry in enumerate(entries) if entry[0] == 1]
        for i, j in product(range(3), range(3)):
            k = blocks[6 * i + 2 * j + 1]
            entries[k] = (*entries[k][:3], patterns[i][j])
        arch = preset.from_reference({"network_def": entries})
        with torch.no_grad():
            outputs.append(supernet(x, arch))
            torch.testing.assert_close(outputs[-1], walked(plain, x, patterns))
    apart = [(a - b).abs().max() for i, a in enumerate(outputs) for b in outputs[:i]]
    assert min(apart) > 1e-4


def changed(k: int, entry: list[Any]) -> list[list[Any]]:
    """The tiny searched network with one entry replaced."""
    entries = definition(TINY)
    entries[k] = entry
    return entries


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (changed(1, [1, [176, 3, 48], [176, 704], 1]), r"block 0 of stage 0 has heads of 48 channels.*32"),
        (changed(8, [1, [352, 10, 32], [352, 1408], 1]), r"stage 1 has heads of 32 channels; .* 48"),
        (changed(1, [1, [176, 3, 32], [192, 704], 1]), r"entry 1 .* in a stage whose tokens are 176 wide"),
        (changed(1, [1, [176, 3, 32], [176, 700], 1]), r"'stages\.0\.0\.mlp' was asked to be 700"),
        (changed(6, [3, 192, 352]), r"entry 6 .* in a stage whose tokens are 176 wide"),
        (changed(0, [0, 176]), r"entry 0 of 'network_def' is \[0, 176\]; first comes \(4, width\)"),
        (changed(3, [1, [176, 3, 32], [176, 640], 0]), r"omits 1 blocks and marks block 2 as absent"),
        (changed(7, [1, [352, 10, 48], [352, 1408], 0]), r"block 0 of stage 1 can not be absent; .* 1, 3, 5"),
        (changed(3, [1, [176, 3, 32]]), r"entry 3 of 'network_def' is \[1, \[176, 3, 32\]\]"),
        (definition([(176, TINY[0][1][:2]), *TINY[1:]]), r"stage 0 .* holds 2 blocks; this space has 6"),
        (definition([TINY[0], (352, TINY[1][1] * 2), TINY[2]]), r"stage 1 .* holds 12 blocks"),
        (definition(TINY[:2]), r"holds 2 stages; this space has 3"),
    ],
)
def test_a_definition_of_another_network_is_refused_and_says_where(entries: Any, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        ViTResNASTiny().from_reference({"network_def": entries})
