"""A supernet whose weights are shared out by FSDP2 gives the gradients of a whole one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from supernet.elastic.supernet import Supernet
from tests.supernet.strategies.course import few_images
from tests.supernet.test_ranks import joins, together
from tests.supernet.test_stepping import residual_supernet

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed"),
]


def learn(net: Supernet, rank: int, ranks: int) -> None:
    """The largest and the smallest, on a part of the batch, with one reduction."""
    x, labels = (leaf[rank::ranks] for leaf in few_images().batch(0, 16, 0))
    for arch, last in ((net.space.largest(), False), (net.space.smallest(), True)):
        if ranks > 1:
            net.set_requires_gradient_sync(last)  # type: ignore[operator]
        F.cross_entropy(net(x, arch), labels).backward()


def shares(rank: int, ranks: int, folder: Path) -> None:
    """One of two processes; each leaves the whole gradients."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    joins(rank, ranks, folder)
    net = residual_supernet().train()
    fully_shard(net, mesh=init_device_mesh("cpu", (ranks,)))
    learn(net, rank, ranks)
    found = {name: parameter.grad.full_tensor() for name, parameter in net.named_parameters()}
    held = {name: tuple(parameter.to_local().shape) for name, parameter in net.named_parameters()}
    torch.save((found, held), folder / f"{rank}.pt")


def test_a_sharded_supernet_has_the_gradients_of_a_whole_one(tmp_path: Path) -> None:
    assert together(shares, 2, tmp_path) == [0, 0]
    whole = residual_supernet().train()
    learn(whole, 0, 1)
    for rank in range(2):
        found, held = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, parameter in whole.named_parameters():
            torch.testing.assert_close(found[name], parameter.grad)
            assert 2 * held[name][0] == len(parameter)
