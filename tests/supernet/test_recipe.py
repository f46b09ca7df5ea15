"""Optimisers and schedules are those their names promise."""

from __future__ import annotations

from dataclasses import replace
from math import cos, pi

import pytest
import torch
from torch import nn

from supernet.errors import ConfigError
from supernet.options import TrainOptions
from supernet.ranks import launched
from supernet.recipe import SCHEDULES, Schedules, optimizer_of, schedule_of

STEPS, WARM = 20, 5
OPTIONS = TrainOptions(lr=0.4, warmup=WARM / STEPS)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def rates(schedule: str) -> list[float]:
    """The learning rate of every step."""
    options = TrainOptions(lr=OPTIONS.lr, warmup=OPTIONS.warmup, schedule=schedule)
    optimizer = optimizer_of(network(), options)
    planned, found = schedule_of(optimizer, options, STEPS), []
    for step in range(STEPS):
        planned.step_update(step)
        found.append(optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_warms_up_in_a_line_from_a_hundredth(schedule: str) -> None:
    line = [OPTIONS.lr * (0.01 + 0.99 * step / WARM) for step in range(WARM)]
    # timm's hyperbolic tangent begins a hair below its learning rate.
    assert rates(schedule)[:WARM] == pytest.approx(line, rel=1e-3)


def test_after_the_warm_up_a_cosine_falls_to_zero_and_a_constant_stays() -> None:
    falling = [OPTIONS.lr * (1 + cos(pi * step / STEPS)) / 2 for step in range(WARM, STEPS)]
    assert rates("cosine")[WARM:] == pytest.approx(falling)
    assert rates("constant")[WARM:] == pytest.approx([OPTIONS.lr] * (STEPS - WARM))


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "constant"])
def test_every_other_schedule_falls_from_step_to_step(schedule: str) -> None:
    after = rates(schedule)[WARM:]
    assert after == sorted(after, reverse=True) and len(set(after)) == len(after)
    assert 0 <= after[-1] < after[0] <= OPTIONS.lr


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_has_nesterov_momentum_and_decays_neither_norms_nor_biases(momentum: float) -> None:
    net = network()
    optimizer = optimizer_of(net, TrainOptions(momentum=momentum, weight_decay=0.3))
    assert isinstance(optimizer, torch.optim.SGD)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert [decay[id(p)] for p in net.parameters()] == [0.3, 0.0, 0.0, 0.0]
    assert {(g["momentum"], g["nesterov"]) for g in optimizer.param_groups} == {(momentum, momentum > 0)}


def test_what_timm_does_not_know_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no optimiser 'adamm'; did you mean 'adam"):
        optimizer_of(network(), TrainOptions(optimizer="adamm"))
    with pytest.raises(ConfigError, match="no schedule is called 'cosin'; did you mean 'cosine'"):
        schedule_of(optimizer_of(network(), OPTIONS), TrainOptions(schedule="cosin"), STEPS)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_training_of_one_step_is_no_matter_for_a_warning(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = TrainOptions(schedule=name, warmup=0.0)
    optimizer = optimizer_of(nn.Linear(2, 2), options)
    schedule_of(optimizer, options, 1).step_update(0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(options.lr)
    assert not caplog.records


@pytest.mark.parametrize("name", SCHEDULES)
def test_after_a_restart_the_rates_are_those_of_a_training_of_its_own(name: str) -> None:
    def rates(*, epochs: int, restarts: tuple[int, ...] = ()) -> list[float]:
        options = replace(OPTIONS, schedule=name, epochs=epochs, restarts=restarts)
        optimizer = optimizer_of(network(), options)
        schedules = Schedules(optimizer, options, epoch_steps=4)
        found = []
        for step in range(4 * epochs):
            schedules.step_update(step)
            found.append(optimizer.param_groups[0]["lr"])
        return found

    assert rates(epochs=6, restarts=(3, 5)) == rates(epochs=3) + rates(epochs=2) + rates(epochs=1)


def test_a_step_belongs_to_one_stretch() -> None:
    options = replace(OPTIONS, epochs=5, restarts=(3,))
    schedules = Schedules(optimizer_of(network(), options), options, epoch_steps=2)
    assert [schedules.at(step) for step in (0, 5, 6, 9)] == [(0, 0, 6), (0, 5, 6), (1, 0, 4), (1, 3, 4)]
    assert [step for step in range(11) if schedules.ends(step)] == [6, 10]


def test_a_training_is_made_longer_by_a_restart() -> None:
    short = TrainOptions(epochs=3)
    long = short.until(5)
    assert (long.epochs, long.restarts, long.stretches) == (5, (3,), (3, 2))
    assert long.until(5) == long and long.until(6).stretches == (3, 2, 1)
    assert long.goes_on_from(short) and long.goes_on_from(long) and not short.goes_on_from(long)
    assert not TrainOptions(epochs=5).goes_on_from(short)
    with pytest.raises(ConfigError, match="4 is shorter"):
        long.until(4)
    for restarts in ((5,), (0,), (3, 2), (2, 2)):
        with pytest.raises(ConfigError, match="restarts is"):
            TrainOptions(epochs=5, restarts=restarts)


@pytest.mark.parametrize(("device", "chosen"), [("cuda", [3]), ("cuda:1", []), ("cpu", [])])
def test_each_process_of_a_machine_takes_a_gpu_of_its_own(
    device: str, chosen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    joined: list[str] = []
    for name, value in {"WORLD_SIZE": "8", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.distributed, "init_process_group", joined.append)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: joined.clear())
    with launched(device):
        assert joined == ["gloo" if device == "cpu" else "nccl"]
        assert taken == chosen
    assert not joined


@pytest.mark.parametrize(("there", "said"), [(0, "has 0 .*; set train"), (3, r"per-node=3\), or set train")])
def test_a_process_without_a_gpu_of_its_own_is_told(
    there: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORLD_SIZE": "8", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    with pytest.raises(ConfigError, match=said), launched("cuda"):
        pass
