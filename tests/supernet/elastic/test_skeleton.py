"""The subnet inside the supernet and the subnet cut out are one network."""

from __future__ import annotations

import copy
import io
from random import Random

import pytest
import torch
from torch import nn

from supernet.elastic.skeleton import Variant
from tests.tiny import tiny_images, tiny_supernet


@pytest.mark.parametrize("seed", range(5))
def test_inside_and_cut_out_answer_alike(seed: int) -> None:
    net = tiny_supernet()
    arch = net.space.sample(Random(seed))
    x = tiny_images()
    assert torch.equal(net(x, arch), net.extract(arch)(x))


def test_the_largest_subnet_is_the_network_it_was_made_from() -> None:
    net = tiny_supernet()
    x = tiny_images()
    assert torch.equal(net(x, net.space.largest()), net.largest(x))
    assert torch.equal(net.extract(net.space.largest())(x), net.largest(x))


def test_what_is_cut_out_is_plain() -> None:
    subnet = tiny_supernet().extract(tiny_supernet().space.smallest())
    assert not any(isinstance(module, Variant) for module in subnet.modules())
    assert not any("present" in name for name, _ in subnet.named_buffers())
    assert {type(module).__module__.partition(".")[0] for module in subnet.modules()} <= {"timm", "torch"}
    for conv in (module for module in subnet.modules() if isinstance(module, nn.Conv2d)):
        assert conv.weight.shape == (conv.out_channels, conv.in_channels // conv.groups, *conv.kernel_size)


def test_what_is_cut_out_owns_its_weights() -> None:
    net = tiny_supernet()
    arch = net.space.sample(Random(0))
    x = tiny_images()
    before = net(x, arch)
    subnet = net.extract(arch)
    with torch.no_grad():
        for parameter in subnet.parameters():
            parameter.zero_()
    assert torch.equal(net(x, arch), before)


def test_what_is_cut_out_survives_every_tool() -> None:
    net = tiny_supernet()
    subnet = net.extract(net.space.sample(Random(1)))
    x = tiny_images()
    expected = subnet(x)
    torch.testing.assert_close(torch.export.export(subnet, (x,)).module()(x), expected)
    torch.testing.assert_close(copy.deepcopy(subnet)(x), expected)
    file = io.BytesIO()
    torch.save(subnet, file)
    file.seek(0)
    torch.testing.assert_close(torch.load(file, weights_only=False)(x), expected)
    subnet.load_state_dict(subnet.state_dict())


def test_running_a_subnet_leaves_nothing_behind() -> None:
    net = tiny_supernet()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modules = {name: dict(module.__dict__) for name, module in net.named_modules()}
    for seed in range(3):
        net(tiny_images(), net.space.sample(Random(seed)))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    for name, module in net.named_modules():
        assert module.__dict__.keys() == modules[name].keys()


def test_gradients_land_in_the_slices_and_nowhere_else() -> None:
    net = tiny_supernet().train()
    arch = net.space.smallest()
    net(tiny_images(4), arch).square().sum().backward()
    weight = net.largest.get_parameter("blocks.1.0.conv_pw.weight")
    half = weight.shape[0] // 2
    assert weight.grad is not None
    assert weight.grad[:half].abs().sum() > 0
    assert weight.grad[half:].abs().sum() == 0


def test_training_moves_only_the_statistics_of_the_channels_in_use() -> None:
    net = tiny_supernet().train()
    mean = net.largest.get_buffer("blocks.1.0.bn1.running_mean")
    before = mean.clone()
    net(tiny_images(4), net.space.smallest())
    half = len(mean) // 2
    assert not torch.equal(mean[:half], before[:half])
    assert torch.equal(mean[half:], before[half:])
