from __future__ import annotations

import pytest
import timm
import torch

from supernet.elastic.elasticise import elasticise
from supernet.elastic.reorder import importance, reorder
from supernet.errors import SupernetError
from tests.supernet.elastic.nets import Tokens, images, seeded, small_vit

NETS = {
    "mobilenetv3": (lambda: timm.create_model("mobilenetv3_small_050", num_classes=10), (4, 3, 32, 32)),
    "vit": (small_vit, (4, 3, 32, 32)),
    "tokens": (Tokens, (4, 5, 6)),
}


@pytest.mark.parametrize("by", ["l1", "l2", "taylor"])
@pytest.mark.parametrize("name", NETS)
def test_the_largest_network_stays_the_same_function(name: str, by: str) -> None:
    make, shape = NETS[name]
    x = images(*shape)
    net = elasticise(seeded(make), x[:1], verify=name != "mobilenetv3")
    largest, smallest = net.space.largest(), net.space.smallest()
    with torch.no_grad():
        before, small = net(x, largest), net(x, smallest)
    reorder(net, by, batches=[(x, torch.arange(4) % 3)])
    with torch.no_grad():
        torch.testing.assert_close(net(x, largest), before, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(net(x, smallest), small)
        assert torch.equal(net(x, smallest), net.extract(smallest)(x))


def test_after_sorting_importance_falls() -> None:
    net = elasticise(seeded(small_vit), (1, 3, 32, 32), dims=("hidden",))
    reorder(net, "l1")
    saliency = {name: value.detach().abs() for name, value in net.largest.named_parameters()}
    found = importance(net.plan, "blocks.0.mlp.fc1.width", saliency)
    assert (found.diff() <= 1e-5).all()


@pytest.mark.parametrize(("by", "message"), [("l3", "did you mean 'l1'|l2"), ("taylor", "needs a batch")])
def test_what_can_not_be_measured_is_said(by: str, message: str) -> None:
    net = elasticise(seeded(small_vit), (1, 3, 32, 32), dims=("hidden",), verify=False)
    with pytest.raises(SupernetError, match=message):
        reorder(net, by)
