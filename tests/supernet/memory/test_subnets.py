"""Modes of subnets: a sandwich of several widths, kernels and depths learns as in the plain supernet."""

from __future__ import annotations

from copy import deepcopy
from random import Random

import pytest
import torch
from torch import Tensor, nn

from supernet.elastic.supernet import Supernet
from supernet.memory.modes import Execution, install, is_exact, modes
from tests.supernet.memory.examples import NETWORKS, images
from tests.tiny import tiny_images, tiny_supernet

EXECUTIONS: list[Execution] = [
    *({"": mode} for mode in modes if mode not in NETWORKS and is_exact(mode)),
    {"blocks.1": "checkpoint", "blocks.2": "fused", "bn1": "fused"},
]


def sandwich(supernet: Supernet, execution: Execution) -> dict[str, Tensor]:
    """Gradients and buffers after lessons of the largest, the smallest and two between, all forward passes first."""
    rng, space = Random(2), supernet.space
    archs = [space.largest(), space.sample(rng), space.sample(rng), space.smallest()]
    subnets = [supernet.subnet(arch, execution=execution) for arch in archs]
    losses = [subnet(tiny_images(4).double()).square().mean() for subnet in subnets]
    for loss in losses:
        loss.backward()
    slopes = {name: p.grad for name, p in supernet.named_parameters() if p.grad is not None}
    return {**slopes, **dict(supernet.named_buffers())}


@pytest.mark.parametrize("execution", EXECUTIONS, ids=str)
def test_a_sandwich_of_subnets_learns_as_in_the_plain_supernet(execution: Execution) -> None:
    expected = sandwich(tiny_supernet().double().train(), "plain")
    found = sandwich(tiny_supernet().double().train(), execution)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_a_bound_subnet_that_learns_twice_sees_what_moved_between() -> None:
    supernet = tiny_supernet().double().train()
    subnet = supernet.subnet(supernet.space.smallest(), execution="checkpoint")
    for _ in range(2):
        subnet(tiny_images(4).double()).square().mean().backward()
        with torch.no_grad():
            for parameter in supernet.parameters():
                parameter.add_(0.01)
    again = tiny_supernet().double().train()
    for _ in range(2):
        again(tiny_images(4).double(), again.space.smallest()).square().mean().backward()
        with torch.no_grad():
            for parameter in again.parameters():
                parameter.add_(0.01)
    for (name, ours), theirs in zip(supernet.named_parameters(), again.parameters()):
        assert (ours.grad is None) == (theirs.grad is None)
        assert ours.grad is None or torch.equal(ours.grad, theirs.grad), name  # type: ignore[arg-type]


class Dense(nn.Module):
    """Layers that are each given all answers before, in one list that grows."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Gathers(3 + 2 * i) for i in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """All channels."""
        found = [x]
        for layer in self.layers:
            found.append(layer(found))
        return torch.cat(found, 1)


class Gathers(nn.Module):
    """One such layer, which puts a mean into the list itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(width), nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, given: list[Tensor]) -> Tensor:
        """One channel."""
        whole = torch.cat(given, 1)
        given.append(whole.mean(1, keepdim=True))
        found: Tensor = self.conv(self.norm(whole))
        return found


@pytest.mark.parametrize("mode", ["fused", "checkpoint", "checkpoint_fused"])
def test_a_list_that_grows_after_a_block_was_given_it_is_given_again_as_it_was(mode: str) -> None:
    torch.manual_seed(0)
    plain = Dense().double()
    other = deepcopy(plain)
    install(other, {"": mode})
    for network in (plain, other):
        network(images()).square().mean().backward()
    for (name, ours), theirs in zip(other.named_parameters(), plain.parameters()):
        assert ours.grad is not None and theirs.grad is not None
        assert torch.equal(ours.grad, theirs.grad), name
