"""Gradients without activations are those of ordinary autograd: exact in float64, to the last bit in fixed point."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.memory_peaks import peak_bytes
from supernet.errors import SpaceError, SupernetError
from supernet.reversible import Coupling, ReversibleStage
from supernet.reversible.coupling import LEAST_SCALE, held_off
from tests.supernet.reversible.branches import (
    CHANNELS,
    SIDE,
    conv_branch,
    loss_of,
    stage_of,
    step,
    streams,
    worst,
)

EXACT = 1e-12
HALF = CHANNELS // 2


class Mixed(nn.Module):
    """A weighted sum of three candidates of different kernels and widths."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self.candidates = nn.ModuleList(
            conv_branch(
                expand=rng.choice((1, 2, 3)), kernel=rng.choice((1, 3, 5)), drop=rng.choice((0.0, 0.3))
            )
            for _ in range(rng.choice((1, 2, 3)))
        )
        self.which = rng.randrange(3)

    def forward(self, x: Tensor, alphas: Tensor) -> Tensor:
        weights = alphas[self.which, : len(self.candidates)].softmax(0)
        return sum(w * one(x) for w, one in zip(weights, self.candidates))


@pytest.mark.parametrize("seed", range(6))
def test_gradients_of_random_stages_are_those_of_ordinary_autograd(seed: int) -> None:
    rng = Random(seed)
    torch.manual_seed(seed)
    blocks = [
        [Mixed(rng) if rng.random() < 0.8 else None for _ in range(2)] for _ in range(rng.choice((1, 2, 3)))
    ]
    stage = ReversibleStage.of(blocks, (CHANNELS, SIDE, SIDE)).double()
    alphas = torch.randn(3, 3, dtype=torch.float64)
    plain, free = (step(stage, streams(), free=way, extra=[alphas]) for way in (False, True))
    for one, other in zip(plain.outputs, free.outputs):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert worst(plain, free) < EXACT


def test_the_numerical_gradient_agrees() -> None:
    torch.manual_seed(0)
    tiny = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    stage = ReversibleStage.of([(tiny, tiny), (nn.Linear(2, 2), None)]).double()
    stage.memory_free = True
    weight = tiny[0].weight
    x = [torch.randn(2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]

    def run(a: Tensor, b: Tensor, _: Tensor) -> tuple[Tensor, ...]:
        return stage(a, b)

    assert torch.autograd.gradcheck(run, (*x, weight))


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_streams_can_be_more_than_two(blocks: int) -> None:
    class Two(nn.Module):
        """Reads two streams."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 4)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.layer(torch.cat([a, b], -1)).tanh()

    torch.manual_seed(0)
    stage = ReversibleStage.of([(Two(), Two(), Two()) for _ in range(blocks)], (12,), axis=-1).double()
    x = [torch.randn(5, 4, dtype=torch.float64) for _ in range(3)]
    assert worst(step(stage, x, free=False), step(stage, x, free=True)) < EXACT


def test_a_stream_can_be_scaled_even_by_nothing() -> None:
    torch.manual_seed(0)
    scales = [
        nn.Parameter(torch.tensor(v).view(1, -1, 1, 1))
        for v in ([0.5, -0.2, 2.0, 0.9], [0.0, 1e-5, -1e-5, 1.0])
    ]
    couplings = [
        *(Coupling(conv_branch(), i, (1 - i,), scale) for i, scale in enumerate(scales)),
        Coupling(nn.Identity(), 0, (1,), -1),
    ]
    stage = ReversibleStage(couplings).double()
    plain, free = (step(stage, streams(), free=way) for way in (False, True))
    # Where a stream was multiplied by a thousandth, its inverse is a thousand times less exact.
    assert worst(plain, free) < EXACT / LEAST_SCALE
    assert all(torch.isfinite(y).all() for y in free.outputs)
    assert held_off(torch.tensor([0.0, -1e-9, 3.0])).tolist() == pytest.approx([1e-3, -1e-3, 3.0])


@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("blocks", [3, 8])
def test_in_fixed_point_gradients_are_equal_to_the_last_bit(blocks: int, autocast: bool) -> None:
    stage = stage_of(blocks, dtype=torch.float32, fixed_point=True)

    def run(stage: nn.Module, x: list[Tensor]) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return stage(*x)

    plain, free = (step(stage, streams(torch.float32), free=way, run=run) for way in (False, True))
    assert worst(plain, free) == 0
    assert all(torch.equal(a, b) for a, b in zip(plain.outputs, free.outputs))


def test_fixed_point_rounds_each_addition_to_2_to_the_minus_16() -> None:
    x = streams()
    (floats, _), (whole, _) = (
        ReversibleStage.of([(nn.Identity(), None)], fixed_point=way)(*(t.requires_grad_() for t in x))
        for way in (False, True)
    )
    assert torch.equal(whole * 2**16, (whole * 2**16).round())
    assert 0 < (floats - whole).abs().max() <= 2**-16


@pytest.mark.parametrize("free", [False, True])
def test_a_stream_that_leaves_the_range_of_fixed_point_is_no_number(free: bool) -> None:
    stage = ReversibleStage.of([(nn.Identity(), nn.Identity())], fixed_point=True)
    stage.memory_free = free
    x = torch.full((2, 3), 9000.0, requires_grad=True)
    assert torch.isfinite(stage(x, x)[1]).all()
    assert torch.isnan(stage(2 * x, 2 * x)[1]).all()


def test_fixed_point_refuses_what_it_cannot_undo() -> None:
    with pytest.raises(
        SpaceError, match=r"branch G of block 0 answers at random \(Dropout at '6' draws\).*rate to 0"
    ):
        ReversibleStage.of([(conv_branch(), conv_branch(drop=0.1))], fixed_point=True)
    with pytest.raises(SpaceError, match="scales its stream"):
        ReversibleStage([Coupling(conv_branch(), 0, (1,), 0.5, title="a step")], fixed_point=True)

    class Noise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.rand_like(x)

    noisy = ReversibleStage.of([(Noise(), Noise())], fixed_point=True)
    noisy.memory_free = True
    with pytest.raises(SupernetError, match="branch F of block 0 answers at random"):
        noisy(*(x.requires_grad_() for x in streams()))

    class Drifting(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            Drifting.calls += 1
            return x * Drifting.calls

    drifting = ReversibleStage.of([(Drifting(), None)], fixed_point=True)
    drifting.memory_free = True
    with pytest.raises(SupernetError, match="answered differently when it was run again"):
        loss_of(drifting(*(x.requires_grad_() for x in streams()))).backward()


def test_streams_of_half_precision_are_widened_inside() -> None:
    stage = stage_of(dtype=torch.bfloat16, fixed_point=True)
    x = streams(torch.bfloat16)
    plain, free = (step(stage, x, free=way) for way in (False, True))
    assert worst(plain, free) == 0
    assert all(y.dtype == torch.bfloat16 for y in free.outputs)


def norm_branch() -> nn.Module:
    return nn.Sequential(
        nn.GroupNorm(1, HALF), nn.Conv2d(HALF, 8, 1), nn.GELU(), nn.Conv2d(8, HALF, 3, padding=1)
    )


class Transposed(nn.Module):
    """A norm over channels, of which there are as many as rows and columns: only strides tell its views apart."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(4), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def test_a_view_of_a_result_is_not_taken_for_the_result() -> None:
    torch.manual_seed(0)
    stage = ReversibleStage.of([(Transposed(), Transposed())]).double()
    x = [torch.randn(2, 4, 4, 4, dtype=torch.float64) for _ in range(2)]
    assert worst(step(stage, x, free=False), step(stage, x, free=True)) < EXACT


def test_float32_streams_drift_little_at_depth_32() -> None:
    stage = stage_of(32, branch=norm_branch, dtype=torch.float32)
    x = streams(torch.float32)
    assert worst(step(stage, x, free=False), step(stage, x, free=True)) < 1e-4


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("fixed_point", [False, True])
def test_running_ahead_of_the_gradients_changes_nothing(blocks: int, fixed_point: bool) -> None:
    results = []
    for overlap in (False, True):
        stage = stage_of(blocks, dtype=torch.float32, fixed_point=fixed_point, overlap=overlap)
        results.append(step(stage, streams(torch.float32), free=True))
    assert worst(*results) == 0


def test_the_next_branch_is_run_before_the_gradients_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from supernet.reversible import inverting

    order: list[str] = []

    class Lane(inverting.Lanes):
        def recomputing(self, k: int, streams: Sequence[Tensor]) -> Any:
            order.append(f"run {k}")
            return super().recomputing(k, streams)

        def differentiating(self, k: int, grads: Sequence[Tensor | None]) -> Any:
            order.append(f"grad {k}")
            return super().differentiating(k, grads)

    monkeypatch.setattr(inverting, "lanes", lambda device: Lane())
    stage = ReversibleStage.of([(conv_branch(), conv_branch()), (conv_branch(), None)], overlap=True).double()
    step(stage, streams(), free=True)
    assert order == ["run 0", "run 1", "grad 0", "run 2", "grad 1", "grad 2"]


def peak_of(blocks: int, kind: str = "free") -> int:
    stage = stage_of(blocks, lambda: conv_branch(expand=4), dtype=torch.float32)
    stage.memory_free = kind == "free"
    torch.manual_seed(0)
    x = [torch.randn(4, HALF, 16, 16) for _ in range(2)]

    def run() -> None:
        loss_of(stage(*x)).backward()
        stage.zero_grad()

    return peak_bytes(run)


def test_memory_grows_by_the_gradients_of_the_parameters_only() -> None:
    gradients = sum(4 * p.numel() for p in stage_of(3, lambda: conv_branch(expand=4)).parameters())
    shallow, deep = peak_of(3), peak_of(6)
    assert deep - shallow <= 1.01 * gradients  # of three blocks
    assert 5 * deep < peak_of(6, "plain")


def test_a_stage_without_couplings_and_a_stream_that_nothing_changes_pass_on() -> None:
    x = [t.requires_grad_() for t in streams()]
    empty = ReversibleStage([])
    assert all(a is b for a, b in zip(empty(*x), x))
    one = ReversibleStage.of([(conv_branch(), None)]).double()
    one.memory_free = True
    assert one(*x)[1] is x[1]
    plain, free = (step(one, streams(), free=way) for way in (False, True))
    assert worst(plain, free) < EXACT


def test_without_gradients_nothing_is_recorded() -> None:
    stage = stage_of()
    stage.memory_free = True
    with torch.no_grad():
        assert all(y.grad_fn is None for y in stage(*streams()))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ReversibleStage.of([(conv_branch(),)]), "each needs one for every stream"),
        (lambda: ReversibleStage.of([(conv_branch(), None), (conv_branch(),)]), "have 2, 1 branches"),
        (lambda: stage_of()(streams()[0]), "1 streams were given to a stage of 2"),
        (lambda: Coupling(conv_branch(), 0, (1,), 0, title="it"), "it multiplies its stream by 0"),
        (lambda: Coupling(conv_branch(), 0, (0, 1), title="it"), "it reads stream 0, which it changes"),
    ],
)
def test_blocks_and_streams_have_to_fit(make: Any, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        make()
