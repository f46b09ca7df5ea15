"""The subnet inside the supernet and the subnet cut out are one network."""

from __future__ import annotations

import copy
import io
from random import Random

import pytest
import torch
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from supernet.elastic.notes import NOTES
from supernet.elastic.skeleton import Variant, bind
from supernet.elastic.slicing import Slices
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


@pytest.mark.parametrize("draw", ["largest", "smallest", "sampled"])
def test_a_copy_for_one_call_shares_what_holds_no_slice_and_answers_alike(draw: str) -> None:
    net = tiny_supernet()
    arch = net.space.sample(Random(3)) if draw == "sampled" else getattr(net.space, draw)()
    slices, original = net.slices(arch), dict(net.largest.named_modules())
    brief, whole = bind(net.largest, slices, brief=True), bind(net.largest, slices)
    assert torch.equal(brief(tiny_images()), whole(tiny_images()))
    copied = {path for path, module in brief.named_modules() if module is not original[path]}
    holding = {""} | {name.rpartition(".")[0] for name in slices.tensors}
    assert holding <= copied
    around = {path for path in original if any(f"{one}.".startswith(f"{path}.") for one in holding)}
    assert copied == around | {""} and (copied == {""}) == (draw == "largest")


def test_statistics_move_once_in_modules_that_a_call_shares() -> None:
    one, other = tiny_supernet().train(), tiny_supernet().train()
    arch = one.space.sample(Random(3))
    one(tiny_images(), arch)
    other.subnet(arch)(tiny_images())
    for (name, ours), theirs in zip(one.named_buffers(), other.buffers()):
        assert torch.equal(ours, theirs), name


class Hooked(MobileNetV3):
    """Registers a hook as it runs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Twice the features of the stem."""
        self.conv_stem.register_forward_hook(lambda module, args, out: 2 * out)
        return super().forward(x)


Hooked.__module__ = MobileNetV3.__module__


@pytest.mark.parametrize("kind", [Hooked, type("Foreign", (MobileNetV3,), {"__module__": "elsewhere"})])
def test_where_modules_may_change_each_other_a_call_shares_none_of_them(kind: type[nn.Module]) -> None:
    largest = tiny_supernet().largest
    largest.__class__ = kind
    del largest.__dict__[NOTES]
    copy = bind(largest, Slices({}, frozenset()), brief=True)
    copy(tiny_images())
    assert copy.conv_stem is not largest.conv_stem and not largest.conv_stem._forward_hooks
