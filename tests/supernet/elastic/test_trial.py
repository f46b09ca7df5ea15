"""The verification runs a network as exactly as it can, and errors of our own are never its findings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet import elasticise
from supernet.elastic import verify
from supernet.elastic.inputs import Inputs
from supernet.elastic.plan import Plan
from supernet.elastic.trial import Failed, Trial
from tests.supernet.elastic.nets import Between, images, seeded


def unit_float() -> nn.Module:
    return seeded(lambda: Between(lambda x: x @ torch.eye(x.shape[-1]) + torch.arange(x.shape[-1]).float()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_of_any_type_is_made_elastic(dtype: torch.dtype) -> None:
    net = elasticise(seeded(lambda: Between(torch.relu, wide=32)).to(dtype), (2, 6))
    x, small = images(2, 6).to(dtype), net.space.smallest()
    assert net.plan.sizes(small)["first.width"] < 32
    assert net(x, small).dtype is dtype
    torch.testing.assert_close(net(x, small), net.extract(small)(x), rtol=0, atol=0)


MADE: dict[str, Callable[[Tensor], Tensor]] = {
    "zeros": lambda x: x + torch.zeros(x.shape[0], 1),
    "a constant product": lambda x: x.float() * torch.full((1, 1), 2.0).to(torch.float32),
    "positions": lambda x: x + torch.arange(x.shape[0]).float()[:, None],
    "a random mask of a seed": lambda x: x * torch.ones(x.shape[0], 1, dtype=torch.float32),
    "a product with a matrix": lambda x: torch.eye(x.shape[0]) @ x,
    "single precision inside": lambda x: x.to(torch.float32).relu().type_as(x),
}


@pytest.mark.parametrize("name", MADE)
def test_tensors_made_in_single_precision_are_no_obstacle(name: str) -> None:
    net = elasticise(seeded(lambda: Between(MADE[name], wide=32)), (2, 6))
    assert net.plan.sizes(net.space.smallest())["first.width"] < 32
    assert Trial(seeded(lambda: Between(MADE[name])), Inputs.of((2, 6))).double


def test_a_network_that_runs_in_single_precision_only_is_checked_in_that() -> None:
    def strict(x: Tensor) -> Tensor:
        if x.dtype is not torch.float32:
            raise TypeError("this kernel takes float32")
        return x.relu()

    model = seeded(lambda: Between(strict, wide=32))
    trial = Trial(model, Inputs.of((2, 6)))
    assert not trial.double
    assert trial.whole.tensors[0].dtype is torch.float32
    assert elasticise(model, (2, 6)).space.log10_size > 0


def test_complex_numbers_are_checked_in_double_precision() -> None:
    class Turning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 4)

        def forward(self, x: Tensor) -> Tensor:
            angles = torch.polar(torch.ones(x.shape[0], 1), torch.arange(x.shape[0]).float()[:, None])
            turned = torch.view_as_real(torch.view_as_complex(self.first(x).unflatten(-1, (-1, 2))) * angles)
            return self.last(turned.flatten(-2))

    trial = Trial(seeded(Turning), Inputs.of((2, 6)))
    assert trial.double
    net, x = elasticise(seeded(Turning), (2, 6)), images(2, 6)
    small = net.space.smallest()
    torch.testing.assert_close(net(x, small), net.extract(small)(x), rtol=0, atol=0)


def test_constants_in_plain_attributes_are_as_exact_as_the_weights() -> None:
    class Tabled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 4)
            self.table = [torch.eye(2)]

        def forward(self, x: Tensor) -> Tensor:
            return self.last((self.table[0] @ self.first(x)).relu())

    assert Trial(seeded(Tabled), Inputs.of((2, 6))).double
    assert elasticise(seeded(Tabled), (2, 6)).space.log10_size > 0


PLACES: list[tuple[Any, str]] = [
    (Plan, "slices_at"),
    (verify, "make_elastic"),
    (verify, "free_plan"),
    (verify, "mask"),
]


@pytest.mark.parametrize(("owner", "name"), PLACES, ids=[name for _, name in PLACES])
def test_an_error_of_our_own_surfaces_as_itself(
    owner: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise KeyError("our own mistake")

    model = seeded(lambda: Between(torch.relu, wide=32))
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(KeyError, match="our own mistake"):
        elasticise(model, (2, 6))


def test_an_error_of_the_cut_network_is_a_finding() -> None:
    net = elasticise(seeded(lambda: Between(lambda x: x.view(2, 12).relu())), (2, 6))
    assert net.conversion is not None
    reasons = {group["name"]: group["reason"] for group in net.conversion["groups"]}
    assert "the cut network fails: shape" in reasons["first.width"]


class Normed(nn.Module):
    """Batch norm and dropout, and perhaps something that training does otherwise."""

    def __init__(self, training: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(6, 12), nn.BatchNorm1d(12), nn.Dropout(0.5)
        self.last, self.other = nn.Linear(12, 5), training

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.norm(self.first(x)).relu())
        return self.last(self.other(x) if self.training and self.other is not None else x)


@pytest.mark.parametrize("macs", [0, 10**11], ids=["run", "run without numbers"])
def test_what_trains_as_it_answers_is_checked_in_evaluation_alone(macs: int) -> None:
    trial = Trial(seeded(Normed), Inputs.of((2, 6)), macs)
    assert trial.modes == (False,)
    assert trial.trains


OTHERWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "another function": lambda x: x.sigmoid(),
    "another number": lambda x: x / x.shape[1],
    "one call more": lambda x: (x * 1) * 1,
}


@pytest.mark.parametrize("macs", [0, 10**11], ids=["run", "run without numbers"])
@pytest.mark.parametrize("training", OTHERWISE.values(), ids=OTHERWISE)
def test_what_trains_otherwise_is_checked_in_both(training: Callable[[Tensor], Tensor], macs: int) -> None:
    trial = Trial(seeded(lambda: Normed(training)), Inputs.of((2, 6)), macs)
    assert trial.modes == (False, True)


def test_a_large_network_that_looks_at_entries_is_run_with_them() -> None:
    looking = seeded(lambda: Between(lambda x: x * (2 if float(x.sum()) > 0 else 1)))
    trial = Trial(looking, Inputs.of((2, 6)), 10**11)
    assert not trial.without_numbers
    assert trial.run_without_numbers(looking).tensors[0].isfinite().all()


def test_a_run_without_numbers_changes_nothing_and_fails_where_the_network_does() -> None:
    trial = Trial(seeded(Normed), Inputs.of((2, 6)), 10**11)
    before = {name: buffer.clone() for name, buffer in trial.model.named_buffers()}
    assert trial.without_numbers
    said = trial.run_without_numbers(trial.model, training=True)
    assert said.tensors[0].shape == (2, 5)
    assert all(torch.equal(before[name], buffer) for name, buffer in trial.model.named_buffers())
    with pytest.raises(Failed, match=r"reduction dim|multiplied"):
        trial.run_without_numbers(nn.Linear(7, 3))
