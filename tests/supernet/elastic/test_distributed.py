"""Two processes, two architectures, plain DistributedDataParallel."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from supernet.elastic.distributed import reaching_all
from supernet.space import Architecture, SearchSpace
from tests.tiny import tiny_images, tiny_supernet


def chosen(space: SearchSpace, rank: int, step: int) -> Architecture:
    """Another architecture in each process; the smallest, which leaves blocks out, in each of them once."""
    return space.smallest() if rank == step else space.sample(Random(10 * step + rank))


def trained(rank: int, folder: Path, compiled: bool) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    supernet = tiny_supernet()
    parallel: nn.Module = DistributedDataParallel(supernet)
    if compiled:
        parallel = torch.compile(parallel, backend="aot_eager", dynamic=True)
    found = []
    for step in range(3):
        supernet.zero_grad()
        parallel(tiny_images(4, seed=rank), chosen(supernet.space, rank, step)).square().mean().backward()
        found.append({name: parameter.grad.clone() for name, parameter in supernet.named_parameters()})
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed")
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_plain_ddp_averages_the_gradients_of_two_architectures(tmp_path: Path, compiled: bool) -> None:
    torch.multiprocessing.start_processes(trained, (tmp_path, compiled), nprocs=2, start_method="spawn")
    both = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    supernet = tiny_supernet()
    for step in range(3):
        alone: list[dict[str, Tensor | None]] = []
        for rank in range(2):
            supernet.zero_grad()
            supernet(tiny_images(4, seed=rank), chosen(supernet.space, rank, step)).square().mean().backward()
            alone.append({name: parameter.grad for name, parameter in supernet.named_parameters()})
        for name, parameter in supernet.named_parameters():
            grads = [
                torch.zeros_like(parameter) if grad is None else grad for grad in (a[name] for a in alone)
            ]
            for rank in range(2):
                torch.testing.assert_close(both[rank][step][name], (grads[0] + grads[1]) / 2)


def test_in_a_single_process_nothing_is_added_to_the_graph() -> None:
    out = nn.Linear(2, 2)(torch.zeros(1, 2))
    assert reaching_all(out, nn.Linear(2, 2)) is out
