"""What slices learn is added up in the whole tensors as autograd would."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supernet.elastic.elasticise import elasticise
from supernet.elastic.gradients import SliceGradients
from supernet.elastic.layout import Kernel
from supernet.elastic.plan import Dim, Plan
from supernet.elastic.supernet import Supernet
from supernet.space import Architecture, Choice, SearchSpace
from tests.supernet.elastic.nets import Tokens, images, seeded
from tests.tiny import tiny_images, tiny_supernet


def convolutions() -> tuple[Supernet, Tensor]:
    """Widths, kernels and blocks that can be left out: views alone."""
    return tiny_supernet().to(memory_format=torch.channels_last).train(), tiny_images()


def attention() -> tuple[Supernet, Tensor]:
    """Heads, of which queries, keys and values are joined: copies too."""
    x = images(2, 5, 6)
    return elasticise(seeded(Tokens), x).train(), x


def matrices() -> tuple[Supernet, Tensor]:
    """A kernel that a learned matrix makes."""
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 2, 5, groups=2, bias=False)
    layer.register_parameter("to_3", nn.Parameter(torch.randn(9, 9)))
    dims = {"k": Dim("k", 5, ("k",), np.array([3, 5]), "kernel")}
    plan = Plan(SearchSpace((Choice("k", (3, 5)),)), dims, {}, {"weight": Kernel("k", ((3, "to_3"),))})
    return Supernet(layer, plan), images(1, 2, 7, 7)


def gradients(net: Supernet) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    return found


def learn(net: Supernet, taking: SliceGradients, x: Tensor, arch: Architecture) -> None:
    net.run(taking.slices(arch), arch, (x,), {}).square().sum().backward()
    taking.add_up(arch)


@pytest.mark.parametrize("make", [convolutions, attention, matrices])
def test_they_are_those_of_autograd(make: Callable[[], tuple[Supernet, Tensor]]) -> None:
    net, x = make()
    space, rng = net.space, Random(0)
    archs = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(3)), space.smallest()]
    taking = SliceGradients(net)
    for dealt in ([space.smallest()], archs, archs[::-1]):
        for arch in dealt:
            net(x, arch).square().sum().backward()
        expected = gradients(net)
        for arch in dealt:
            learn(net, taking, x, arch)
        found = gradients(net)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, msg=name)
        with torch.no_grad():  # as an optimiser does: the same slices hold other values
            for parameter in net.parameters():
                parameter.mul_(0.9)


def test_slices_are_taken_again_where_nothing_changed() -> None:
    net, _ = convolutions()
    taking, arch = SliceGradients(net), net.space.smallest()
    name = next(name for name in taking.slices(arch).tensors if name.endswith("weight"))
    first = taking.slices(arch).tensors[name]
    assert taking.slices(arch).tensors[name] is first
    net.get_parameter(f"largest.{name}").requires_grad_(False)
    assert not taking.slices(arch).tensors[name].requires_grad
    net.get_parameter(f"largest.{name}").requires_grad_(True)
    assert taking.slices(arch).tensors[name].requires_grad
    net.get_parameter(f"largest.{name}").data = torch.zeros_like(net.get_parameter(f"largest.{name}"))
    assert not taking.slices(arch).tensors[name].any()


def test_a_lesson_that_ended_halfway_leaves_nothing_to_the_next() -> None:
    net, x = convolutions()
    taking, arch = SliceGradients(net), net.space.smallest()
    learn(net, taking, x, arch)
    expected = gradients(net)
    net.run(taking.slices(arch), arch, (x,), {}).square().sum().backward()
    net.zero_grad()
    learn(net, taking, x, arch)
    for name, gradient in gradients(net).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)
