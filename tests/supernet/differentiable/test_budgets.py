"""Methods that look at costs: RC-DARTS' projection and GOLD-NAS' pruning."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from supernet.differentiable import (
    DifferentiableOptions,
    DifferentiableTrainer,
    methods,
    trainer as trainer_module,
)
from supernet.differentiable.gold_nas import PRUNED, GOLDNASMethod, survivors
from supernet.differentiable.pricing import macs_share
from supernet.differentiable.rc_darts import project
from supernet.elastic.inputs import Inputs
from supernet.elastic.relaxation import Relaxation
from supernet.errors import ConfigError
from supernet.options import DataOptions, TrainOptions
from supernet.presets import NASBench201
from supernet.sources import load_data

PRESET = NASBench201(cells=1, widths=(2, 4), channels=1, classes=10, resolution=8)


@pytest.fixture(scope="module")
def net() -> Any:
    return PRESET.supernet().double()


@pytest.fixture(scope="module")
def share(net: Any) -> Any:
    return macs_share(net, Inputs.of((1, 1, 8, 8)))


@pytest.fixture
def traced_once(share: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "macs_share", lambda supernet, inputs: share)


def logits_of(net: Any, scale: float = 1.0) -> dict[str, Tensor]:
    seed = torch.Generator().manual_seed(2)
    return {
        name: (scale * torch.randn(len(values), generator=seed, dtype=torch.float64)).requires_grad_()
        for name, values in net.relaxable.members.items()
    }


def test_the_projection_is_the_nearest_point_within_the_bound(net: Any, share: Any) -> None:
    method = methods["darts"]()

    def cost(logits: Any) -> Tensor:
        out: Tensor = share(method.mean(net.relaxable, logits, net.space.largest()))
        return out

    logits = logits_of(net)
    wanted = {name: one.detach().clone() for name, one in logits.items()}
    bound = 0.6 * float(cost(logits).detach())
    project(logits, cost, bound)
    assert float(cost(logits).detach()) == pytest.approx(bound, rel=1e-8)
    slopes = torch.autograd.grad(cost(logits), list(logits.values()))
    moved = torch.cat([one.detach() - wanted[name] for name, one in logits.items()])
    slope = torch.cat(slopes)
    factor = -(moved @ slope) / (slope @ slope)
    assert factor > 0
    assert (moved + factor * slope).norm() <= 1e-7 * moved.norm()
    inside = {name: one.detach().clone() for name, one in logits.items()}
    project(logits, cost, bound * 1.01)
    assert all(torch.equal(one, inside[name]) for name, one in logits.items())
    # The stem alone costs more.
    with pytest.raises(ConfigError, match="larger bound"):
        project(logits, cost, 1e-3)


def searched(folder: Path | None = None, epochs: int = 4, **search: Any) -> DifferentiableTrainer:
    data = load_data(DataOptions(resolution=8, search_share=0.1))
    options = TrainOptions(epochs=epochs, batch_size=1024, lr=0.05, warmup=0.0)
    wanted = DifferentiableOptions(warmup=0.0, lr=0.3, **search)
    return DifferentiableTrainer(PRESET.supernet(), data, options, wanted, folder)


@pytest.mark.slow
@pytest.mark.usefixtures("traced_once")
def test_a_search_with_a_bound_ends_below_it() -> None:
    trainer = searched(epochs=2, method="rc_darts", method_options={"bound": 0.3})
    trainer.run()
    assert trainer.cost is not None
    assert float(trainer.cost(trainer.mean()).detach()) <= 0.3 * (1 + 1e-4)


PRUNING = {"sure": 0.05, "unsure": 0.45, "most": 3, "start": 1.0}


@pytest.mark.usefixtures("traced_once")
def test_gold_nas_passes_through_ever_cheaper_networks_each_a_part_of_the_one_before() -> None:
    trainer = searched(method="gold_nas", method_options=PRUNING)
    found = trainer.run()
    left = trainer.memory["left"]
    assert len(left) > 2
    assert trainer.cost is not None
    costs = []
    for before, after in pairwise(left):
        assert all(set(after[name]) <= set(before[name]) for name in before)
        assert sum(map(len, after.values())) < sum(map(len, before.values()))
    for one in left:
        gates = {name: torch.zeros(5) for name in one}
        for name, places in one.items():
            gates[name][places] = 1
        costs.append(float(trainer.cost(Relaxation(gates, trainer.base))))
    assert costs == sorted(costs, reverse=True)
    values = trainer.supernet.space.decode(found)
    names = list(trainer.supernet.relaxable.members.items())
    assert all(members.index(values[name]) in left[-1][name] for name, members in names)


@pytest.mark.slow
@pytest.mark.usefixtures("traced_once")
def test_pruning_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    trainer = searched(method="gold_nas", method_options=PRUNING)
    found = trainer.run()
    first = searched(tmp_path, method="gold_nas", method_options=PRUNING)

    def stop(step: int, steps: int, words: str) -> None:
        if step > 2 * first.epoch_steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run(stop)
    again = searched(tmp_path, method="gold_nas", method_options=PRUNING)
    assert again.step
    assert again.run() == found
    assert again.memory == trainer.memory


def test_pruning_closes_the_smallest_gates_and_keeps_the_last(net: Any) -> None:
    logits = {name: one * 0 for name, one in logits_of(net).items()}
    first, second = list(logits)[:2]
    logits[first] = torch.tensor([-9.0, -8, -7, -6, -5])
    logits[second] = torch.tensor([-3.5, -3.2, -3.1, 0, 0])
    method = GOLDNASMethod(most=2)
    assert method.prune(net.relaxable, logits) == 6
    left = survivors(net.relaxable, logits)
    assert left[first] == [4]
    assert left[second] == [2, 3, 4]
    assert logits[second][0] == PRUNED
    memory = method.after_epoch(net.relaxable, logits, {})
    assert (memory["factor"], memory["growth"]) == (0.01, 0.01)
    again = method.after_epoch(net.relaxable, logits, memory)
    assert (again["factor"], again["growth"]) == (0.03, 0.02)
    assert float(method.burden(torch.tensor(0.5), again)) == pytest.approx(0.015)


def test_what_can_not_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="same batches"):
        searched(method="gold_nas", order="second")
    with pytest.raises(ConfigError, match="unsure"):
        GOLDNASMethod(sure=0.5, unsure=0.1)
