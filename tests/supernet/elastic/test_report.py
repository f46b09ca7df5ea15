"""The table that says what is elastic."""

from __future__ import annotations

import timm
from torch import nn

from supernet.elastic.elasticise import elasticise
from tests.tiny import tiny_supernet


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_a_report_names_every_size_that_can_change() -> None:
    supernet = tiny_supernet()
    found = supernet.report()
    assert {row.name for row in found.live} == {choice.name for choice in supernet.space.choices}
    by_name = {row.name: row for row in found.rows}
    assert by_name["blocks.1.1.width"].sizes == (32, 48, 64)
    assert by_name["blocks.1.1.present"].kind == "depth"
    block = supernet.largest.get_submodule("blocks.1.1")
    assert by_name["blocks.1.1.present"].share == size(block) / size(supernet.largest)
    assert not found.fixed
    for row in found.rows:
        assert row.name in str(found)


def test_a_report_counts_the_smallest_and_the_largest_subnet() -> None:
    supernet = tiny_supernet()
    found = supernet.report()
    ends = supernet.space.smallest(), supernet.space.largest()
    assert found.params == tuple(size(supernet.extract(arch)) for arch in ends)
    assert f"10^{supernet.space.log10_size:.1f} subnets" in str(found)


def test_what_is_frozen_is_said_with_the_reason() -> None:
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=4)
    found = elasticise(network, (1, 3, 32, 32), dims=["hidden"], verify=False).report()
    reasons = {row.name: row.fixed for row in found.fixed}
    assert reasons["head.width"] == "it is the output"
    assert "it is the output" in str(found)
    assert found.verified is False
    assert "nothing was verified" in str(found)
    assert 0 < found.elastic_share < 1
