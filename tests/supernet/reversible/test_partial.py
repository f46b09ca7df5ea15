"""Partial channels in reversible branches are those of PC-DARTS: zeros beside the part, a shuffle after every block."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.elastic.mixing import mixed
from supernet.elastic.relaxation import Relaxation
from supernet.elastic.supernet import Supernet
from supernet.errors import SpaceError
from supernet.presets.candidates import OneOf
from supernet.presets.plan_builder import PlanBuilder
from supernet.reversible import ReversibleStage
from supernet.reversible.partial import PartialBranch, partial_blocks, shuffled
from supernet.space import Choice, SearchSpace

CHANNELS, SHARE, BLOCKS = 8, 4, 3
KERNELS = (1, 3, 5)
SPACE = SearchSpace(tuple(Choice(f"{i}.{letter}", KERNELS) for i in range(BLOCKS) for letter in "FG"))


class Network(nn.Module):
    """A reversible stage on the halves of its input."""

    def __init__(self) -> None:
        super().__init__()
        own = CHANNELS // SHARE
        blocks = [
            [OneOf(*(candidate(own, kernel) for kernel in KERNELS)) for _ in "FG"] for _ in range(BLOCKS)
        ]
        self.stage = ReversibleStage.of(partial_blocks(blocks, CHANNELS, SHARE), (2 * CHANNELS, 5, 5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self.stage(*x.chunk(2, 1)), 1)


def candidate(channels: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(channels))


def made() -> Supernet:
    torch.manual_seed(0)
    network = Network()
    wiring = PlanBuilder(network, SPACE)
    for k, choice in enumerate(SPACE.choices):
        wiring.one_of(f"stage.couplings.{k}.branch.branch", choice.name, KERNELS)
    return Supernet(network, wiring.plan()).double().train()


def shuffling(net: Supernet, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """The plain way: every stream is shuffled after every block."""
    first, second = x.chunk(2, 1)
    own = CHANNELS // SHARE
    branches = [coupling.branch.branch for coupling in net.largest.stage.couplings]  # type: ignore[union-attr]

    def part(branch: nn.Sequential, own_weights: Tensor, stream: Tensor) -> Tensor:
        out = mixed(own_weights, [(one, stream[:, :own]) for one in branch])
        return F.pad(out, (0, 0, 0, 0, 0, CHANNELS - own))

    for i in range(BLOCKS):
        first = first + part(branches[2 * i], weights[f"{i}.F"], second)
        second = second + part(branches[2 * i + 1], weights[f"{i}.G"], first)
        first, second = (F.channel_shuffle(stream, SHARE) for stream in (first, second))
    return torch.cat((first, second), 1)


def test_a_reversible_stage_of_partial_channels_equals_shuffling_by_hand() -> None:
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(3, 2 * CHANNELS, 5, 5, generator=rng, dtype=torch.float64, requires_grad=True)
    of_output = torch.randn(x.shape, generator=rng, dtype=torch.float64)
    logits = [torch.randn(3, generator=rng, dtype=torch.float64, requires_grad=True) for _ in SPACE.choices]
    order = shuffled(CHANNELS, SHARE, BLOCKS)
    whole = torch.cat((order, order + CHANNELS))
    seen = []
    for execution in ("by hand", "plain", "reversible"):
        net = made()
        weights = {c.name: one.softmax(0) for c, one in zip(SPACE.choices, logits)}
        if execution == "by hand":
            out = shuffling(net, x, weights)
        else:
            subnet = net.subnet(Relaxation(weights, SPACE.largest()), execution=execution)
            out = subnet(x)[:, whole]
        slopes = torch.autograd.grad((out * of_output).sum(), [x, *logits, *net.parameters()])
        seen.append([out, *slopes, *net.buffers()])
    for ours in seen[1:]:
        for a, b in zip(ours, seen[0]):
            assert (a.double() - b.double()).norm() <= 1e-12 * b.double().norm()


def test_what_does_not_work_is_zero() -> None:
    branch = PartialBranch(nn.Identity(), CHANNELS, SHARE, turn=1)
    x = torch.ones(1, CHANNELS, 2, 2)
    places = F.channel_shuffle(torch.arange(CHANNELS).view(1, -1, 1, 1), SHARE)[0, : CHANNELS // SHARE, 0, 0]
    assert branch(x)[0, :, 0, 0].nonzero().flatten().tolist() == sorted(places.tolist())
    with pytest.raises(SpaceError, match=r"share is 3 and a stream has 8 channels; .* 6 channels"):
        PartialBranch(nn.Identity(), CHANNELS, 3)
