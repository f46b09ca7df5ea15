"""Small branches and stages, and the two roads through them: ordinary autograd, and memory-free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from supernet.reversible import ReversibleStage

CHANNELS, SIDE, BATCH = 8, 6, 4


def conv_branch(
    channels: int = CHANNELS // 2, expand: int = 2, kernel: int = 3, drop: float = 0.0
) -> nn.Module:
    """An inverted bottleneck that keeps its width."""
    wide = channels * expand
    layers: list[nn.Module] = [
        nn.Conv2d(channels, wide, 1, bias=False),
        nn.BatchNorm2d(wide),
        nn.Hardswish(),
        nn.Conv2d(wide, wide, kernel, padding=kernel // 2, groups=wide, bias=False),
        nn.BatchNorm2d(wide),
        nn.SiLU(),
        *([nn.Dropout(drop)] if drop else []),
        nn.Conv2d(wide, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    ]
    return nn.Sequential(*layers)


def stage_of(
    blocks: int = 2,
    branch: Callable[[], nn.Module] = conv_branch,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    **options: Any,
) -> ReversibleStage:
    """A stage with weights of a seed, in training."""
    torch.manual_seed(seed)
    pairs = [(branch(), branch()) for _ in range(blocks)]
    return ReversibleStage.of(pairs, (CHANNELS, SIDE, SIDE), **options).to(dtype)


def streams(dtype: torch.dtype = torch.float64, seed: int = 1) -> list[Tensor]:
    """Two streams of random numbers."""
    torch.manual_seed(seed)
    return [torch.randn(BATCH, CHANNELS // 2, SIDE, SIDE, dtype=dtype) for _ in range(2)]


@dataclass
class Seen:
    """What a step left: outputs, gradients by name (None included), buffers, the state of the generator."""

    outputs: list[Tensor]
    grads: dict[str, Tensor | None]
    buffers: dict[str, Tensor]
    generator: Tensor


def loss_of(outputs: Sequence[Tensor]) -> Tensor:
    """A number that weighs every entry of the outputs differently."""
    weights = (torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y) for y in outputs)
    return sum(((y * w).sum() + y.square().mean() for y, w in zip(outputs, weights)), torch.zeros(()))


def step(
    stage: nn.Module,
    given: Iterable[Tensor],
    *,
    free: bool,
    extra: Sequence[Tensor] = (),
    run: Callable[[nn.Module, list[Tensor]], Sequence[Tensor]] | None = None,
) -> Seen:
    """One forward and backward pass of a copy of a stage, from the same seed.

    Args:
        stage: a stage, or a network that holds some.
        given: streams; their gradients are asked for too.
        free: whether memory-free.
        extra: further inputs that learn.
        run: from the stage and its streams to what it answers.
    """
    stage = deepcopy(stage)
    for module in stage.modules():
        if isinstance(module, ReversibleStage):
            module.memory_free = free
    inputs = [x.clone().requires_grad_() for x in given]
    more = [x.clone().requires_grad_() for x in extra]
    torch.manual_seed(7)
    outputs = list(run(stage, inputs) if run else stage(*inputs, extra=more))
    loss_of(outputs).backward()
    grads = {f"input {i}": x.grad for i, x in enumerate(inputs)}
    grads |= {f"extra {i}": x.grad for i, x in enumerate(more)}
    grads |= {name: parameter.grad for name, parameter in stage.named_parameters()}
    return Seen(outputs, grads, dict(stage.named_buffers()), torch.get_rng_state())


def worst(plain: Seen, free: Seen) -> float:
    """The largest relative error of a gradient, after all that must be equal is.

    Relative to the norm of each gradient, or of the largest where one is zero but for rounding.
    """
    assert plain.grads.keys() == free.grads.keys()
    assert torch.equal(plain.generator, free.generator)
    for name, buffer in plain.buffers.items():
        assert torch.equal(buffer, free.buffers[name]), name
    largest = max(float(grad.norm()) for grad in plain.grads.values() if grad is not None)
    errors = [0.0]
    for name, grad in plain.grads.items():
        other = free.grads[name]
        assert (grad is None) == (other is None), name
        if grad is not None and other is not None:
            assert grad.dtype == other.dtype
            errors.append(float((grad - other).norm()) / max(float(grad.norm()), 1e-3 * largest))
    return max(errors)
