"""The checks of `benchmarks.coverage` see what they are there to see."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks import coverage, coverage_checks
from benchmarks.coverage_row import OutOfTime, limited
from benchmarks.coverage_sets import lively, smallest
from supernet.elastic.elasticise import elasticise
from supernet.elastic.inputs import Inputs
from supernet.elastic.supernet import Supernet


class Small(nn.Module):
    """Batch norm, dropout and a classifier: what behaves otherwise in training."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3)
        self.norm = nn.BatchNorm2d(16)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.conv(x)).relu()).mean((2, 3)))


def small() -> tuple[Supernet, Inputs]:
    torch.manual_seed(0)
    return elasticise(lively(Small().eval()), (1, 3, 8, 8)), Inputs((torch.randn(2, 3, 8, 8),))


def test_a_subnet_trains_like_its_cut_out_network() -> None:
    supernet, inputs = small()
    before = {name: tensor.clone() for name, tensor in supernet.named_parameters()}
    assert coverage_checks.in_training(supernet, inputs, supernet.space.smallest(), seed=0) == []
    assert all(torch.equal(before[name], tensor) for name, tensor in supernet.named_parameters())


def other_weights(alone: nn.Module) -> None:
    with torch.no_grad():
        alone.head.bias.add_(1)  # type: ignore[operator, union-attr]


def other_momentum(alone: nn.Module) -> None:
    alone.norm.momentum = 0.5  # type: ignore[union-attr, assignment]


def no_gradient(alone: nn.Module) -> None:
    alone.conv.weight.requires_grad_(False)  # type: ignore[operator, union-attr]


@pytest.mark.parametrize(
    ("change", "said"),
    [(other_weights, "loss"), (other_momentum, "buffer norm."), (no_gradient, "gradient of conv.weight")],
)
def test_what_differs_in_training_is_named(change: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    supernet, inputs = small()
    right, changed = supernet.extract, []

    def extract(arch: Any) -> nn.Module:
        alone = right(arch)
        if not changed:
            change(alone)
            changed.append(alone)
        return alone

    monkeypatch.setattr(supernet, "extract", extract)
    found = coverage_checks.in_training(supernet, inputs, supernet.space.smallest(), seed=0)
    assert any(said in each for each in found), found


def test_gradients_outside_the_subnet_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    supernet, inputs = small()
    bound = supernet.subnet

    def leaking(arch: Any) -> nn.Module:
        subnet = bound(arch)
        subnet.register_forward_hook(lambda module, args, out: out + 0 * out + supernet.largest.conv.bias[-1])
        return subnet

    monkeypatch.setattr(supernet, "subnet", leaking)
    found = coverage_checks.in_training(supernet, inputs, supernet.space.smallest(), seed=0)
    assert "1 gradient entries outside the subnet" in found


def test_answers_of_other_shape_or_number_are_infinitely_far() -> None:
    x = torch.zeros(2, 3)
    assert coverage_checks.worst({"a": x}, {"a": x.clone()}) == 0
    assert coverage_checks.worst({"a": x}, {"a": x + 1}) == 1
    for other in ({"a": x[:1]}, {"b": x}, (x, x), {"a": x + float("nan")}):
        assert coverage_checks.worst({"a": x}, other) == float("inf")


@pytest.mark.parametrize("gates_of", [(nn.LSTM, 4), (nn.GRU, 3)], ids=["LSTM", "GRU"])
def test_recurrent_layers_are_counted_by_hand(gates_of: tuple[type[nn.Module], int]) -> None:
    kind, gates = gates_of
    layers = kind(6, 8, num_layers=2, bidirectional=True, batch_first=True)
    one_way = gates * 8 * (6 + 8) + gates * 8 * (16 + 8)
    assert coverage_checks.counted_macs(layers, Inputs((torch.zeros(1, 5, 6),))) == 5 * 2 * one_way


def test_attention_is_counted_whatever_kernel_runs_it() -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.zeros(1, 5, 8)
    expected = 5 * 8 * 24 + 2 * 5 * 5 * 8 + 5 * 8 * 8
    assert coverage_checks.counted_macs(layer, Inputs((x, x, x))) == expected


def test_costs_that_miss_an_op_are_found() -> None:
    supernet, inputs = small()
    arch = supernet.space.smallest()
    less, one = copy.deepcopy(supernet), inputs.with_batch(1)
    assert coverage_checks.cost_differences(supernet, one, arch) == []
    less.ops = tuple(op for op in supernet.ops if op.name != "linear")
    assert [each.split()[0] for each in coverage_checks.cost_differences(less, one, arch)] == ["macs"]


def test_time_that_runs_out_ends_the_block_alone() -> None:
    with pytest.raises(OutOfTime), limited(0.1):
        while True:
            pass


def test_every_module_of_timm_has_a_small_network() -> None:
    import timm

    found = smallest()
    assert len(found) >= 98
    assert all(timm.is_model(name) for name in found.values())


def test_figures_count_each_end_apart() -> None:
    row = {
        "outcome": "converted",
        "seconds": 2.0,
        "share": 1.0,
        "log10": 12.0,
        "compared": 3,
        "weights_mb": 5,
    }
    rows = [
        row,
        row | {"training_wrong": 1, "seconds": 4.0, "weights_mb": 500, "memory_over_weights": 3.0},
        row | {"wrong": 2, "compared": 0},
        {"outcome": "refused"},
        {"outcome": "timed out"},
        {"outcome": "crashed"},
    ]
    found = coverage.figures(rows)
    counts = {"models": 6, "converted": 3, "wrong": 1, "training_wrong": 1, "costs_wrong": 0}
    counts |= {"refused": 1, "timed_out": 1, "crashed": 1, "well_covered": 2, "not_compared": 1}
    assert counts.items() <= found.items()
    assert (found["median_seconds"], found["most_memory_over_weights"]) == (2.0, 3.0)
