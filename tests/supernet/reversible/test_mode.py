"""The mode `reversible` trains a preset of two streams to the weights of the plain one, whatever is sampled."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from supernet.elastic.supernet import Supernet
from supernet.errors import SupernetError
from supernet.memory.modes import Execution, modes
from supernet.presets import presets
from supernet.reversible import ReversibleStage
from supernet.space import Architecture
from tests.supernet.presets.test_preset import SMALL as PRESETS, images as example
from tests.supernet.test_ranks import together

SMALL: dict[str, Any] = {
    "stem": 16,
    "widths": ((16, 32), (32,)),
    "strides": (1, 2),
    "depths": (1, 2),
    "kernels": (3, 5),
}
EXACT = 1e-12
"""In float64, relative to the norm of each gradient."""


@cache
def supernet(name: str = "rev_mobile") -> Supernet:
    return presets[name](classes=3, resolution=16, **SMALL).supernet().double().train()


def images(seed: int = 0) -> Tensor:
    return torch.randn(4, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradients(
    net: Supernet, archs: list[Architecture], execution: Execution
) -> tuple[dict[str, Tensor | None], dict[str, Tensor]]:
    """What several subnets leave in the shared weights and buffers, one after the other."""
    net.zero_grad(set_to_none=True)
    before = {name: buffer.clone() for name, buffer in net.largest.named_buffers()}
    for i, arch in enumerate(archs):
        net.subnet(arch, execution=execution)(images(i)).square().sum().backward()
    grads = {name: p.grad for name, p in net.largest.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in net.largest.named_buffers()}
    for name, buffer in net.largest.named_buffers():
        buffer.copy_(before[name])
    return grads, buffers


def same(one: dict[str, Tensor | None], other: dict[str, Tensor | None], error: float = EXACT) -> None:
    largest = max(float(grad.norm()) for grad in one.values() if grad is not None)
    for name, grad in one.items():
        again = other[name]
        assert (grad is None) == (again is None), name
        if grad is not None and again is not None:
            assert float((grad - again).norm()) <= error * max(float(grad.norm()), 1e-3 * largest), name


@pytest.mark.parametrize("seed", range(3))
def test_random_architectures_and_the_sandwich_learn_the_same(seed: int) -> None:
    net, rng = supernet(), Random(seed)
    archs = [net.space.largest(), net.space.smallest(), net.space.sample(rng)]
    plain, statistics = gradients(net, archs, "plain")
    free, others = gradients(net, archs, "reversible")
    same(plain, free)
    for name, buffer in statistics.items():
        assert torch.equal(buffer, others[name]), name


REVERSIBLE = [name for name in presets if name.startswith("rev")]


@pytest.mark.parametrize("name", REVERSIBLE)
def test_every_reversible_preset_learns_as_under_ordinary_autograd(name: str) -> None:
    preset = presets[name](classes=3, channels=3, **PRESETS[name])
    net, x = preset.supernet().double().train(), example(name).double()
    arch = preset.space.sample(Random(1))
    seen = []
    for execution in ("plain", "reversible"):
        twin = deepcopy(net)
        twin.subnet(arch, execution=execution)(x).square().sum().backward()
        seen.append({path: parameter.grad for path, parameter in twin.largest.named_parameters()})
    same(*seen)


def test_supervised_columns_answer_too_and_teach_the_same_in_both_ways() -> None:
    preset = presets["revcol"](classes=3, widths=(8, 16), blocks=(1, 1), columns=(2, 3), supervised=(0,))
    net = preset.supernet().double().train()
    seen = []
    for execution in ("plain", "reversible"):
        twin = deepcopy(net)
        subnet = twin.subnet(preset.space.smallest(), execution=execution)
        last, others = subnet(images())
        assert len(others) == 1
        (last.square().sum() + others[0].square().sum()).backward()
        seen.append({path: parameter.grad for path, parameter in twin.largest.named_parameters()})
    same(*seen)
    assert seen[0]["heads.0.classifier.weight"] is not None
    assert torch.equal(
        net.eval().subnet(preset.space.smallest())(images()), net(images(), preset.space.smallest())
    )
    with pytest.raises(
        SupernetError, match="column 1 is to be supervised; the smallest network has columns 0 to 1"
    ):
        presets["revcol"](supervised=(1,))


def test_modes_can_be_mixed_and_put_inside_each_other() -> None:
    net = supernet()
    arch = net.space.largest()
    plain, _ = gradients(net, [arch], "plain")
    mixed = {"stages.0": "reversible", "stages.1": "fused", "stages.0.couplings.1.branch": "fused"}
    same(plain, gradients(net, [arch], mixed)[0])


def test_a_network_of_one_stream_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        SupernetError, match=r"Linear has no reversible stage.*'checkpoint' or 'fused'.*'rev_mobile'"
    ):
        modes["reversible"](nn.Linear(2, 2))


def test_a_cut_out_subnet_is_an_ordinary_network() -> None:
    net = supernet()
    arch = net.space.smallest()
    alone = net.extract(arch)
    stages = [module for module in alone.modules() if isinstance(module, ReversibleStage)]
    assert [len(stage.couplings) for stage in stages] == [2, 2]
    assert not any(stage.memory_free for stage in stages)
    torch.testing.assert_close(alone.eval()(images()), net.subnet(arch).eval()(images()), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"widths": ((24, 32),), "strides": (1,)},
            r"widths of stage 0 are \(24, 32\).*multiples of 16, e.g. \(32, 32\)",
        ),
        ({"widths": ((32,),)}, "4 strides were given for 1 stages"),
        ({"depths": (0, 1)}, "at least one block"),
    ],
)
def test_a_space_that_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SupernetError, match=said):
        presets["rev_mobile"](**options)


def small() -> Supernet:
    return presets["rev_mobile"](classes=3, resolution=16, **SMALL).supernet().double().train()


class Lessons(nn.Module):
    """Runs one architecture in a mode, as a module that DDP can wrap."""

    def __init__(self, net: Supernet, execution: str) -> None:
        super().__init__()
        self.net, self.execution = net, execution

    def forward(self, x: Tensor, arch: Architecture) -> Tensor:
        # As the trainer does: a subnet's parameters are slices of those that DDP looks after.
        out: Tensor = self.net.subnet(arch, execution=self.execution)(x)
        return out


def shares(rank: int, ranks: int, folder: Path, execution: str, find_unused: bool) -> None:
    """Elastic depth and the sandwich on two processes; the first one leaves its gradients."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store-{execution}-{find_unused}", rank=rank, world_size=ranks
    )
    net = small()
    wrapped = DistributedDataParallel(
        Lessons(net, execution), find_unused_parameters=find_unused, broadcast_buffers=False
    )
    rng = Random(0)
    archs = [net.space.sample(rng) for _ in range(2)]
    with wrapped.no_sync():
        for arch in (net.space.largest(), *archs):
            wrapped(images(rank), arch).square().sum().backward()
    wrapped(images(rank + 2), net.space.smallest()).square().sum().backward()
    if rank == 0:
        torch.save({n: p.grad for n, p in net.named_parameters()}, folder / f"{execution}-{find_unused}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed")
@pytest.mark.parametrize("find_unused", [False, True])
def test_two_processes_share_the_gradients_of_the_plain_network(find_unused: bool, tmp_path: Path) -> None:
    run: Callable[..., Any] = together
    for execution in ("plain", "reversible"):
        assert run(shares, 2, tmp_path, execution, find_unused) == [0, 0]
    one, other = (
        torch.load(tmp_path / f"{execution}-{find_unused}.pt", weights_only=True)
        for execution in ("plain", "reversible")
    )
    same(one, other)
