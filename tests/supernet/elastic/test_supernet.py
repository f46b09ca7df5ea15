"""A supernet under threads, autocast, checkpointing and the compiler."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from supernet.elastic.elasticise import elasticise
from supernet.elastic.supernet import Supernet
from supernet.space import Architecture
from tests.supernet.elastic.nets import small_vit
from tests.tiny import tiny_images, tiny_supernet

SEEDS = range(3)


def some(supernet: Supernet) -> list[Architecture]:
    return [
        supernet.space.largest(),
        supernet.space.smallest(),
        *(supernet.space.sample(Random(s)) for s in SEEDS),
    ]


def gradients(network: nn.Module, run: Callable[[], Tensor]) -> list[Tensor]:
    network.zero_grad()
    run().square().sum().backward()
    return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]


def same(ours: list[Tensor], theirs: list[Tensor], **tolerance: float) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        torch.testing.assert_close(one, other, **tolerance)


def test_two_threads_run_two_architectures_of_one_supernet() -> None:
    supernet = tiny_supernet()
    x, archs = tiny_images(), some(supernet)
    alone = [supernet(x, arch) for arch in archs]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda arch: supernet(x, arch), archs * 8))
    for i, output in enumerate(together):
        torch.testing.assert_close(output, alone[i % len(archs)], rtol=0, atol=0)


def test_autocast_gives_what_the_cut_out_network_gives_under_autocast() -> None:
    supernet = tiny_supernet()
    x = tiny_images()
    with torch.autocast("cpu", torch.bfloat16):
        for arch in some(supernet):
            inside, alone = supernet(x, arch), supernet.extract(arch)(x)
            assert inside.dtype == torch.bfloat16
            torch.testing.assert_close(inside, alone, rtol=0, atol=0)


def test_gradients_and_statistics_are_those_of_the_cut_out_network() -> None:
    x = tiny_images(4)
    for arch in some(tiny_supernet()):
        supernet = tiny_supernet().train()
        alone = supernet.extract(arch).train()
        gradients(supernet, partial(supernet, x, arch))
        gradients(alone, partial(alone, x))
        after = supernet.extract(arch)
        for (name, value), other in zip(alone.named_buffers(), after.buffers()):
            torch.testing.assert_close(other, value, rtol=0, atol=0, msg=name)
        # The slices of a gradient are cut as the weights are: put it in their place.
        with torch.no_grad():
            for parameter in supernet.parameters():
                parameter.copy_(torch.zeros(()) if parameter.grad is None else parameter.grad)
        cut = dict(supernet.extract(arch).named_parameters())
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(cut[name].data, parameter.grad, rtol=0, atol=0)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_around_the_supernet_changes_no_gradient(reentrant: bool) -> None:
    supernet = tiny_supernet()
    x = tiny_images().requires_grad_()
    small, large = supernet.space.smallest(), supernet.space.largest()

    def sandwich(run: Callable[[Architecture], Tensor]) -> Tensor:
        # Both run before either is recomputed: a remembered architecture would be the wrong one.
        return run(large) + run(small)

    plain = gradients(supernet, lambda: sandwich(lambda arch: supernet(x, arch)))
    kept = gradients(
        supernet, lambda: sandwich(lambda arch: checkpoint(supernet, x, arch, use_reentrant=reentrant))
    )
    same(kept, plain)


def test_timms_own_checkpointing_inside_changes_no_gradient() -> None:
    supernet = tiny_supernet()
    x = tiny_images().requires_grad_()
    archs = some(supernet)
    run: Callable[[], Tensor] = lambda: torch.stack([supernet(x, arch) for arch in archs]).sum(0)  # noqa: E731
    plain = gradients(supernet, run)
    supernet.largest.set_grad_checkpointing(True)
    same(gradients(supernet, run), plain)


@pytest.mark.parametrize("training", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_one_compiled_graph_serves_every_width_and_kernel(training: bool) -> None:
    supernet = tiny_supernet().train(training)
    x = tiny_images(4)
    graphs: list[Any] = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(supernet, backend=backend, dynamic=True)
    present = dict.fromkeys(supernet.plan.switches.values(), 1)
    seen = []
    for seed in range(8):
        values = supernet.space.decode(supernet.space.largest())
        values |= supernet.space.decode(supernet.space.sample(Random(seed))) | present
        arch = supernet.space.encode(values)
        seen.append(arch)
        before = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
        ours = compiled(x, arch)
        after = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
        supernet.load_state_dict(before, strict=False)
        torch.testing.assert_close(ours, supernet(x, arch))
        for name, buffer in supernet.named_buffers():
            torch.testing.assert_close(after[name], buffer)
    assert len(set(seen)) == 8
    assert len(graphs) == 1


@pytest.mark.slow
def test_a_compiled_transformer_has_one_graph_for_each_depth_and_none_for_a_width() -> None:
    torch.manual_seed(0)
    # A size of one is always a constant to the compiler: networks of a single head have graphs of their own.
    supernet = elasticise(small_vit(), (2, 3, 32, 32), choices={"heads": [2, 3, 4]}).eval()
    depth = next(choice.name for choice in supernet.space.choices if choice.name.endswith("depth"))
    graphs: list[Any] = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(supernet, backend=backend, dynamic=True)
    x, depths = tiny_images(4), set()
    for seed in range(8):
        arch = supernet.space.sample(Random(seed))
        depths.add(supernet.space.decode(arch)[depth])
        torch.testing.assert_close(compiled(x, arch), supernet(x, arch))
    assert len(graphs) == len(depths) == 2
