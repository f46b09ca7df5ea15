"""Modes of subnets: a sandwich of several widths, kernels and depths learns as in the plain supernet."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import Tensor

from supernet.elastic.supernet import Supernet
from supernet.memory.modes import Execution, is_exact, modes
from tests.supernet.memory.examples import NETWORKS
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
