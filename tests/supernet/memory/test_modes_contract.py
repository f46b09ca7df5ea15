"""What every execution mode keeps to: whatever a network computes, remembers and learns stays as it is."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from copy import deepcopy
from weakref import ref

import pytest
import torch
from torch import Tensor, nn

from supernet.memory.modes import install, is_exact, modes
from supernet.memory.pieces import pieces
from tests.supernet.memory.examples import NETWORKS, ORDINARY, images, network_of

INSIDE = "checkpoint inside fused"
"""Not a mode but two: every piece keeps its inputs only, in a network that is fused as a whole."""
CASES = [(mode, make) for mode in [*modes, INSIDE] for make in NETWORKS.get(mode, ORDINARY)]
Make = Callable[[], nn.Module]
each = pytest.mark.parametrize(("mode", "make"), CASES, ids=[f"{m}-{make.__name__}" for m, make in CASES])


def both(mode: str, network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The network, and a copy in a mode."""
    other = deepcopy(network)
    install(other, {"": "fused"} | _alternating(other) if mode == INSIDE else {"": mode})
    return network, other


def _alternating(network: nn.Module) -> dict[str, str]:
    """One of the two kinds of checkpoint for each piece, in turns."""
    paths = [path for path, _ in pieces(network) if path]
    return {path: ("checkpoint", "checkpoint_fused")[i % 2] for i, path in enumerate(paths)}


def learnt(network: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What a network answers, and the gradients of a loss, after a seed."""
    torch.manual_seed(3)
    out = network(x)
    out.square().mean().backward()
    return out.detach(), {n: p.grad for n, p in network.named_parameters() if p.grad is not None}


def check_same(mode: str, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    """Equal to the bit where the mode is exact; else a gradient that goes the same way as a whole."""
    if mode == INSIDE or is_exact(mode):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert torch.equal(ours[name], value), name
        return
    assert ours and ours.keys() <= theirs.keys()
    found, expected = (torch.cat([of[name].flatten().double() for name in ours]) for of in (ours, theirs))
    assert torch.cosine_similarity(found, expected, dim=0) > 0.8


@each
def test_answers_gradients_and_statistics_are_those_of_the_plain_network(mode: str, make: Make) -> None:
    plain, other = both(mode, network_of(make))
    for _ in range(2):
        expected, gradients = learnt(plain, images())
        state = torch.get_rng_state()
        out, found = learnt(other, images())
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(out, expected)
        check_same(mode, found, gradients)
        for (name, ours), theirs in zip(other.named_buffers(), plain.buffers()):
            assert torch.equal(ours, theirs), name


@each
def test_the_state_dict_stays_as_it_is(mode: str, make: Make) -> None:
    plain, other = both(mode, network_of(make))
    learnt(other, images())
    assert list(plain.state_dict()) == list(other.state_dict())
    other.load_state_dict(plain.state_dict())


@each
def test_autocast_is_that_of_the_forward_pass(mode: str, make: Make) -> None:
    found = []
    for network in both(mode, network_of(make, torch.float32)):
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16):
            out = network(images(torch.float32))
        out.float().square().mean().backward()
        found.append({n: p.grad for n, p in network.named_parameters() if p.grad is not None})
    check_same(mode, found[1], found[0])


@each
def test_gradients_can_be_asked_for_by_name_and_for_the_inputs(mode: str, make: Make) -> None:
    found = []
    for network in both(mode, network_of(make)):
        x = images().requires_grad_()
        torch.manual_seed(3)
        loss = network(x).square().mean()
        slopes = torch.autograd.grad(loss, [x, *network.parameters()], allow_unused=True)
        found.append({str(i): slope for i, slope in enumerate(slopes) if slope is not None})
    check_same(mode, found[1], found[0])


@each
def test_evaluation_and_frozen_weights_are_the_same_too(mode: str, make: Make) -> None:
    network = network_of(make).eval()
    for parameter in list(network.parameters())[:4]:
        parameter.requires_grad_(False)
    plain, other = both(mode, network)
    (expected, gradients), (out, found) = learnt(plain, images()), learnt(other, images())
    assert torch.equal(out, expected)
    check_same(mode, found, gradients)
    with torch.no_grad():
        assert torch.equal(other(images()), plain(images()))


@each
def test_a_weight_that_moved_before_the_backward_pass_is_an_error(mode: str, make: Make) -> None:
    _, network = both(mode, network_of(make))
    loss = network(images()).square().mean()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)
    with pytest.raises((RuntimeError, ValueError), match="modified"):
        loss.backward()


@each
def test_what_happens_to_the_modules_before_the_backward_pass_changes_nothing(mode: str, make: Make) -> None:
    plain, other = both(mode, network_of(make))
    _, gradients = learnt(plain, images())
    torch.manual_seed(3)
    loss = other(images()).square().mean()
    other.eval()
    loss.backward()
    check_same(mode, {n: p.grad for n, p in other.named_parameters() if p.grad is not None}, gradients)
    assert not any(module.training for module in other.modules())


@each
def test_nothing_is_left_of_a_pass_whose_backward_pass_never_came(mode: str, make: Make) -> None:
    _, network = both(mode, network_of(make))
    seen: list[ref[Tensor]] = []
    layer = next(module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d))
    layer.register_forward_hook(lambda _, given, out: seen.append(ref(out)))
    gc.disable()
    try:
        network(images())
        assert seen and all(tensor() is None for tensor in seen)
    finally:
        gc.enable()


@each
def test_the_graph_can_be_gone_through_twice(mode: str, make: Make) -> None:
    plain, other = both(mode, network_of(make))
    for network in (plain, other):
        torch.manual_seed(3)
        loss = network(images()).square().mean()
        loss.backward(retain_graph=True)
        loss.backward()
    found, expected = (
        {n: p.grad for n, p in network.named_parameters() if p.grad is not None} for network in (other, plain)
    )
    check_same(mode, found, expected)
