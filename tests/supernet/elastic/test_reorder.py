from __future__ import annotations

from itertools import product

import pytest
import timm
import torch

from supernet.elastic.elasticise import elasticise
from supernet.elastic.reorder import importance, reorder, saliency, sort_units
from supernet.errors import SupernetError
from tests.supernet.elastic.nets import Tokens, images, seeded, small_vit
from tests.supernet.strategies.course import few_images, small_supernet

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
    entries = {name: value.detach().abs() for name, value in net.largest.named_parameters()}
    found = importance(net.plan, "blocks.0.mlp.fc1.width", entries)
    assert (found.diff() <= 1e-5).all()


@pytest.mark.parametrize(("by", "message"), [("l3", "did you mean 'l1'|l2"), ("taylor", "needs a batch")])
def test_what_can_not_be_measured_is_said(by: str, message: str) -> None:
    net = elasticise(seeded(small_vit), (1, 3, 32, 32), dims=("hidden",), verify=False)
    with pytest.raises(SupernetError, match=message):
        reorder(net, by)


def test_sorting_between_the_trained_widths_leaves_them_the_same_functions() -> None:
    net, x = small_supernet(), few_images().batch(0, 8, 0)[0]
    archs = [net.space.architecture(genes) for genes in product(range(3), repeat=2)]
    before = [net(x, arch) for arch in archs]
    sort_units(net, saliency(net, "l1"), trained=2)
    same = [torch.allclose(net(x, arch), old, atol=1e-5) for arch, old in zip(archs, before)]
    assert same == [min(arch.genes) > 0 for arch in archs]
