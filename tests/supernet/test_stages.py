"""The stages of an architecture add up to the whole of it."""

from __future__ import annotations

from random import Random

import pytest
import timm

from supernet import Supernet, elasticise
from supernet.errors import ConversionError
from supernet.presets import Mobile
from supernet.stages import Block, stages
from tests.tiny import tiny_supernet


@pytest.fixture(scope="module")
def mobile() -> Supernet:
    return Mobile(resolution=16, widths=(8, 8, 12), depths=(1, 2), features=32).supernet()


def test_parameters_and_multiply_adds_add_up(mobile: Supernet) -> None:
    for seed in range(5):
        arch = mobile.space.sample(Random(seed))
        cost, found = mobile.costs().of(arch), stages(mobile, arch)
        assert sum(stage.params for stage in found) == cost.params
        assert sum(stage.macs for stage in found) == cost.macs


def test_a_stage_tells_its_blocks_as_they_are_cut_out(mobile: Supernet) -> None:
    for arch in (mobile.space.smallest(), mobile.space.largest()):
        subnet, found = mobile.extract(arch), {stage.path: stage for stage in stages(mobile, arch)}
        for name, row in subnet.blocks.named_children():
            there = [block for block in row if type(block).__name__ == "InvertedResidual"]
            stage = found[f"blocks.{name}"]
            assert [block.width for block in stage.blocks] == [b.conv_dw.out_channels for b in there]
            assert [block.kernels for block in stage.blocks] == [(b.conv_dw.kernel_size[0],) for b in there]


def test_the_blocks_of_a_transformer_are_one_stage() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=3, num_classes=10)
    net = elasticise(model, (1, 3, 32, 32), dims=["hidden"], verify=False)
    found = {stage.path: stage for stage in stages(net, net.space.largest())}
    assert list(found) == ["patch_embed", "blocks", "head"]
    assert [str(block) for block in found["blocks"].blocks] == ["768"] * 3
    assert str(Block("", (3, 5), 24)) == "24 (3x3, 5x5)"


def test_a_network_that_was_not_traced_says_what_is_missing() -> None:
    net = tiny_supernet()
    with pytest.raises(ConversionError, match="was not traced"):
        stages(net, net.space.largest())
