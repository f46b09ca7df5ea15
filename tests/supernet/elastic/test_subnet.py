"""A subnet as a value: bound to the shared weights, with modules of its own."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from supernet.calibrate import calibrate
from supernet.elastic.slicing import is_present
from supernet.elastic.subnet import executions
from supernet.errors import SupernetError
from tests.tiny import tiny_images, tiny_supernet

SLOW = ("compiled",)  # a minute of compiling


@pytest.mark.parametrize(
    "execution", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in executions]
)
def test_every_execution_answers_as_the_cut_out_network(execution: str) -> None:
    supernet, x = tiny_supernet(), tiny_images()
    for arch in (supernet.space.largest(), supernet.space.smallest()):
        subnet = supernet.subnet(arch, execution=execution)
        torch.testing.assert_close(subnet(x), supernet.extract(arch)(x))


def test_a_subnet_sees_what_happens_to_the_weights_after_it_was_made() -> None:
    supernet, x = tiny_supernet(), tiny_images()
    subnet = supernet.subnet(supernet.space.smallest())
    before = subnet(x)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.mul_(1.1)
    assert not torch.equal(subnet(x), before)
    torch.testing.assert_close(subnet(x), subnet.extract()(x), rtol=0, atol=0)


def test_gradients_land_in_the_shared_weights() -> None:
    supernet, x = tiny_supernet(), tiny_images()
    subnet = supernet.subnet(supernet.space.smallest())
    for _ in range(2):
        subnet(x).square().sum().backward()
    ours = {name: p.grad for name, p in supernet.largest.named_parameters() if p.grad is not None}
    supernet.zero_grad()
    for _ in range(2):
        supernet(x, subnet.arch).square().sum().backward()
    for name, parameter in supernet.largest.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(ours[name], parameter.grad)


@pytest.mark.parametrize("without_gradients", [torch.no_grad, torch.inference_mode])
def test_its_views_are_taken_again_where_no_gradient_is_asked(without_gradients: type) -> None:
    supernet, x = tiny_supernet(), tiny_images()
    subnet = supernet.subnet(supernet.space.smallest())
    with without_gradients():
        subnet(x)
        before = dict(subnet.views)
        subnet(x)
    assert before
    assert all(subnet.views[step] is known for step, known in before.items())


def test_its_mode_is_its_own() -> None:
    supernet = tiny_supernet().train()
    subnet = supernet.subnet(supernet.space.smallest()).eval()
    absent = supernet.slices(subnet.arch).absent
    assert not any(
        module.training for path, module in subnet.network.named_modules() if is_present(path, absent)
    )
    assert all(module.training for module in supernet.modules())


def test_its_parameters_are_its_own_slices() -> None:
    supernet = tiny_supernet()
    subnet = supernet.subnet(supernet.space.smallest())
    counted = sum(p.numel() for p in supernet.extract(subnet.arch).parameters())
    present = supernet.plan.slices(supernet.largest, subnet.arch).absent
    held = sum(p.numel() for name, p in subnet.network.named_parameters() if is_present(name, present))
    assert held == counted


def test_modes_and_hooks_are_its_own() -> None:
    supernet, x = tiny_supernet(), tiny_images()
    subnet = supernet.subnet(supernet.space.largest())
    seen: list[int] = []
    subnet.network.get_submodule("conv_stem").register_forward_hook(lambda *_: seen.append(1))
    subnet(x), subnet(x), supernet(x, subnet.arch)
    assert len(seen) == 2
    subnet.train()
    assert not supernet.training and not any(m.training for m in supernet.largest.modules())
    assert all(m.training for m in subnet.network.modules())


def test_statistics_take_the_place_of_the_shared_ones() -> None:
    supernet, x = tiny_supernet(), tiny_images(8)
    arch = supernet.space.smallest()
    statistics = calibrate(supernet.subnet(arch), [x])
    with_own = supernet.subnet(arch).with_statistics(statistics)
    torch.testing.assert_close(with_own(x), supernet.extract(arch, statistics)(x), rtol=0, atol=0)
    assert not torch.equal(with_own(x), supernet(x, arch))


@pytest.mark.parametrize("again", [copy.deepcopy])
def test_a_subnet_can_be_copied_and_pickled(again: object) -> None:
    supernet, x = tiny_supernet(), tiny_images()
    subnet = supernet.subnet(supernet.space.smallest())
    torch.testing.assert_close(again(subnet)(x), subnet(x), rtol=0, atol=0)  # type: ignore[operator]


def test_a_compiled_subnet_refuses_a_mode_its_graphs_do_not_have() -> None:
    supernet = tiny_supernet()
    subnet = supernet.subnet(supernet.space.smallest(), execution="compiled").train()
    with pytest.raises(SupernetError, match=r"supernet\.train\(\)"):
        subnet(tiny_images())


def test_an_unknown_execution_names_the_nearest() -> None:
    supernet = tiny_supernet()
    with pytest.raises(SupernetError, match="did you mean 'plain'"):
        supernet.subnet(supernet.space.smallest(), execution="plian")


def test_a_subnet_is_a_module_without_the_supernet_inside() -> None:
    supernet = tiny_supernet()
    subnet = supernet.subnet(supernet.space.smallest())
    assert isinstance(subnet, nn.Module)
    assert supernet not in list(subnet.modules())


def test_modes_are_asked_for_by_the_paths_of_modules() -> None:
    supernet, x = tiny_supernet(), tiny_images()
    arch = supernet.space.smallest()
    subnet = supernet.subnet(arch, execution={"blocks.1": "plain", "blocks.1.1.se": "plain"})
    assert torch.equal(subnet(x), supernet(x, arch))
    assert pickle.loads(pickle.dumps(subnet)).execution == subnet.execution


@pytest.mark.parametrize(
    ("execution", "said"),
    [
        ({"blocks.9": "plain"}, "no module is at 'blocks.9', .* did you mean 'blocks.2'"),
        ({"blocks.1": "plian"}, "no execution mode is called 'plian'; did you mean 'plain'"),
    ],
)
def test_an_unknown_module_or_mode_names_the_nearest(execution: dict[str, str], said: str) -> None:
    supernet = tiny_supernet()
    with pytest.raises(SupernetError, match=said):
        supernet.subnet(supernet.space.smallest(), execution=execution)
