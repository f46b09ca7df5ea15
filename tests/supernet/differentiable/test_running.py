"""Executions and bytes of a differentiable search: whatever saves memory, the same logits and weights come out."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from supernet.data import ImageDataset
from supernet.differentiable import DifferentiableOptions, DifferentiableTrainer
from supernet.differentiable.running import heaviest
from supernet.elastic.relaxation import Relaxation
from supernet.errors import ConfigError, SupernetError
from supernet.options import DataOptions, TrainOptions
from supernet.presets import NASBench201
from supernet.sources import load_data
from supernet.space import Architecture, SearchSpace


@cache
def few_digits() -> ImageDataset:
    """One batch for the weights, one for the logits."""
    found = load_data(DataOptions(resolution=16))
    assert isinstance(found, ImageDataset)
    half = torch.arange(8)
    return replace(found, train=found.train.take(half), search=found.search.take(half))


def search(folder: Path | None = None, order: Any = "first", method: str = "darts", **words: Any) -> Any:
    """Two steps of two cells."""
    options = TrainOptions(epochs=2, batch_size=8, lr=0.05, warmup=0.0, **words)
    wanted = DifferentiableOptions(method=method, warmup=0.0, lr=0.1, order=order)
    preset = NASBench201(cells=1, widths=(4, 8), channels=1, classes=10, resolution=16)
    return DifferentiableTrainer(preset.supernet(), few_digits(), options, wanted, folder)


def learnt(trainer: DifferentiableTrainer) -> dict[str, torch.Tensor]:
    """Weights, statistics and logits in the end."""
    trainer.run()
    return {**trainer.supernet.state_dict(), **trainer.logits.state_dict()}


@pytest.mark.parametrize(
    ("words", "execution"),
    [
        pytest.param({"method": "darts", "order": "exact"}, "checkpoint", marks=pytest.mark.slow),
        ({"method": "darts", "order": "second"}, "fused"),
        ({"method": "proxylessnas", "amp": "bf16"}, "checkpoint"),
        ({"method": "gdas", "ema": 0.9}, {"cells.1": "checkpoint_fused"}),
    ],
)
def test_a_search_learns_the_same_in_every_exact_execution(words: Any, execution: Any) -> None:
    plain, other = learnt(search(**words)), learnt(search(**words, execution=execution))
    for name, value in plain.items():
        assert torch.equal(other[name], value), name


@pytest.mark.slow
def test_a_search_keeps_to_its_bytes_and_goes_on_by_the_same_plan(tmp_path: Path) -> None:
    roomy = search(memory="1TB")
    expected = learnt(roomy)
    assert roomy.plan.execution == {}
    memory = str(int(0.7 * roomy.plan.peak))
    first = search(tmp_path, memory=memory)
    with pytest.raises(KeyboardInterrupt):
        first.run(stopped)
    assert first.plan.peak <= first.plan.budget and first.mixtures.execution == first.plan.execution != {}
    again = search(tmp_path, memory=memory)
    assert again.plan == first.plan and again.step == 1
    for name, value in learnt(again).items():
        assert torch.equal(expected[name], value), name
    with pytest.raises(ConfigError, match=r"memory is 2 KiB; a step .* needs at least .* KiB"):
        search(memory="2048").run()


def stopped(*_: Any) -> None:
    raise KeyboardInterrupt


def test_the_heaviest_draw_is_of_the_last_values_and_has_the_gradient_of_the_weights() -> None:
    weights = torch.tensor([0.0, 1.0, 0.0], requires_grad=True)
    found = heaviest(Relaxation({"a": weights}, Architecture(SearchSpace(()).fingerprint, ())))
    assert found.weights["a"].tolist() == [0, 0, 1]
    (slope,) = torch.autograd.grad(found.weights["a"] @ torch.tensor([1.0, 2.0, 3.0]), weights)
    assert slope.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"execution": "compiled"}, "execution is 'compiled', .* take 'plain', 'fused' or 'checkpoint'"),
        ({"execution": "fusedd"}, "no execution is called 'fusedd'; did you mean 'fused'"),
        ({"execution": "reversible"}, "has no reversible stage"),
        ({"accumulate": 2}, "accumulate is 2, .* lower batch_size"),
        ({"execution": "int8", "order": "exact"}, "differentiates twice, and execution is 'int8'"),
        ({"execution": {"cells.9": "fused"}}, "no module is at 'cells.9'"),
    ],
)
def test_what_a_search_can_not_run_in_is_refused_when_it_is_made(words: dict[str, Any], said: str) -> None:
    with pytest.raises(SupernetError, match=said):
        search(**words)
