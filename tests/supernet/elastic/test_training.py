"""What only training runs is part of every subnet, and is checked like the rest."""

from __future__ import annotations

from random import Random

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from supernet import elasticise
from supernet.elastic.supernet import Supernet
from supernet.elastic.trial import without_drops
from supernet.space import Architecture
from tests.supernet.elastic.nets import Auxiliary, images, seeded


def leaves(outputs: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]


def same_in_training(net: Supernet, arch: Architecture, x: Tensor) -> list[Tensor]:
    """What both roads answer in training, after making sure that answers and gradients are the same."""
    alone = net.extract(arch).train()
    net.train().zero_grad()
    inside, apart = leaves(net(x, arch)), leaves(alone(x))
    for ours, theirs in zip(inside, apart, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    torch.stack([leaf.square().sum() for leaf in inside]).sum().backward()
    torch.stack([leaf.square().sum() for leaf in apart]).sum().backward()
    ours = sum(p.grad.abs().sum() for p in net.parameters() if p.grad is not None)
    theirs = sum(p.grad.abs().sum() for p in alone.parameters() if p.grad is not None)
    torch.testing.assert_close(ours, theirs)
    return inside


def test_an_auxiliary_classifier_follows_what_it_reads_and_keeps_its_classes() -> None:
    net = elasticise(without_drops(seeded(Auxiliary)), (1, 3, 8, 8))
    small = net.space.smallest()
    sizes = net.plan.sizes(small)
    assert sizes["stem.0.width"] < 32
    assert sizes["side.0.width"] < 24
    assert not any("mask_token" in name for name in net.plan.touched)
    for arch in (small, net.space.largest(), *(net.space.sample(Random(seed)) for seed in range(3))):
        answers = same_in_training(net, arch, images(4, 3, 8, 8))
        assert [tuple(answer.shape) for answer in answers] == [(4, 10), (4, 10)]
    assert net.conversion is not None
    assert net.conversion["verified_in_training"]
    reasons = {
        tensor: group["reason"] for group in net.conversion["groups"] for tensor, _ in group["members"]
    }
    assert reasons["mask_token"] == "neither evaluation nor training reads it"


def test_sizes_that_only_fail_in_training_stay_whole() -> None:
    class Counting(Auxiliary):
        def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            if not self.training:
                return super().forward(x)
            first, second = super().forward(x)
            return first, second + self.stem(x).shape[1]

    net = elasticise(without_drops(seeded(lambda: Counting(unused=False))), (1, 3, 8, 8))
    sizes = net.plan.sizes(net.space.smallest())
    assert "stem.0.width" not in sizes
    assert sizes["body.0.width"] < 48
    same_in_training(net, net.space.smallest(), images(4, 3, 8, 8))


def test_the_verification_looks_at_every_group_alone() -> None:
    class Silent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.quiet, self.last = nn.Linear(6, 32), nn.Linear(6, 32), nn.Linear(32, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).relu()) + 0 * self.quiet(x).sum()

    net = elasticise(seeded(Silent), (2, 6))
    assert [choice.name for choice in net.space.choices] == ["first.width"]
    assert net.conversion is not None
    reasons = {group["name"]: group["reason"] for group in net.conversion["groups"]}
    assert reasons["quiet.width"] == "cutting it changes nothing that can be seen"


def test_where_a_network_forbids_gradients_every_group_is_still_looked_at() -> None:
    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 5)

        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).relu())

    assert len(elasticise(seeded(Detached), (2, 6)).space) == 1


@pytest.mark.slow
def test_googlenet_trains_in_every_architecture() -> None:
    model = seeded(lambda: torchvision.models.googlenet(num_classes=10, aux_logits=True, init_weights=False))
    net = elasticise(without_drops(model), (1, 3, 224, 224))
    assert net.space.log10_size > 10
    for seed in range(5):
        arch = net.space.sample(Random(seed))
        with torch.no_grad():
            alone = net.extract(arch).train()
            net.train()
            inside, apart = leaves(net(images(2, 3, 96, 96), arch)), leaves(alone(images(2, 3, 96, 96)))
        assert [tuple(leaf.shape) for leaf in inside] == [(2, 10)] * 3
        for ours, theirs in zip(inside, apart, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
