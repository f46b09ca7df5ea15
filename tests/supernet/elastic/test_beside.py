"""A group that held only beside another one, which was fixed later."""

from __future__ import annotations

from random import Random

import pytest
import torch

from supernet.elastic.elasticise import elasticise


@pytest.mark.slow
def test_no_group_stays_elastic_that_held_only_beside_one_that_was_fixed() -> None:
    transformers = pytest.importorskip("transformers", reason="the extra [language]")
    torch.manual_seed(0)
    model = transformers.SegformerForSemanticSegmentation(transformers.SegformerConfig(num_labels=8)).eval()
    inputs = {"pixel_values": torch.randn(1, 3, 64, 64)}
    net = elasticise(model, kwargs=inputs)
    for arch in (net.space.smallest(), *(net.space.sample(Random(seed)) for seed in range(3))):
        inside, alone = net.subnet(arch)(**inputs), net.extract(arch)(**inputs)
        torch.testing.assert_close(inside.logits, alone.logits, rtol=0, atol=0)
