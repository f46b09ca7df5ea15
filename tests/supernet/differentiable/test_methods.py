"""Methods of differentiable search: what they draw, whose gradients are exact, and that a search goes on."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from supernet.differentiable import DifferentiableOptions, DifferentiableTrainer, bilevel, methods
from supernet.differentiable.bilevel import exact, finite, first_order
from supernet.differentiable.method import fresh_logits
from supernet.differentiable.proxylessnas import gate
from supernet.elastic.expectation import ExpectedCost, ExpectedValue, entropy
from supernet.elastic.mixing import mixed
from supernet.elastic.plan import Plan
from supernet.elastic.relaxation import Relaxation
from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError, StateError
from supernet.options import DataOptions, TrainOptions
from supernet.presets import DARTS, NASBench201, ProxylessNAS
from supernet.sources import load_data
from supernet.space import SearchSpace
from tests.supernet.differentiable.sizes import sized

CELLS: dict[str, Any] = {"cells": 3, "width": 4, "nodes": 2, "classes": 4}
CHAIN = ProxylessNAS(
    widths=(8,),
    cells=(2,),
    strides=(2,),
    kernels=(3, 5),
    expands=(2,),
    classes=4,
    stem=8,
    first=8,
    features=8,
)


def images() -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def near(ours: Tensor, expected: Tensor, within: float = 1e-12) -> bool:
    return bool((ours - expected).norm() <= within * expected.norm())


@pytest.fixture(scope="module")
def chain() -> Any:
    return CHAIN.supernet().double().train()


def logits_of(supernet: Any, scale: float = 1.0) -> dict[str, Tensor]:
    seed = torch.Generator().manual_seed(2)
    made = fresh_logits(supernet.relaxable, seed, scale)
    return {name: one.double().requires_grad_() for name, one in made.items()}


KINDS: dict[str, Any] = {"cells": DARTS(**CELLS).supernet, "chain": CHAIN.supernet, "sizes": sized}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(methods))
def test_every_method_trains_weights_and_logits_of_every_kind_of_space_it_is_about(
    name: str, kind: str
) -> None:
    torch.manual_seed(0)
    supernet, method = KINDS[kind]().double().train(), methods[name]()
    made = method.initial(supernet.relaxable, torch.Generator().manual_seed(2))
    assert bool(made) == (("candidates" in method.about) == (kind != "sizes"))
    if not made:
        return
    logits = {name: (one.double() * 1e3).requires_grad_() for name, one in made.items()}
    largest = supernet.space.largest()
    relaxation = method.relaxation(supernet.relaxable, logits, largest)
    loss = supernet(images(), relaxation).square().sum() + method.penalty(logits)
    loss.backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in supernet.parameters())
    assert any(one.grad is not None and bool(one.grad.any()) for one in logits.values())
    mean = method.mean(supernet.relaxable, logits, largest)
    assert supernet.relaxable.leaning(mean) in supernet.space
    assert 0 <= entropy(mean) <= 1


def test_gdas_equals_the_mixed_form_with_hard_weights(chain: Any) -> None:
    torch.manual_seed(3)
    drawn = methods["gdas"]().relaxation(chain.relaxable, logits_of(chain), CHAIN.space.largest())
    assert all(sorted(one.tolist())[-1] == one.sum() == 1 for one in drawn.weights.values())
    weights = {name: one.detach().requires_grad_() for name, one in drawn.weights.items()}
    parameters = list(chain.parameters())
    both = []
    for only_active in (True, False):
        answer = chain(images(), Relaxation(weights, drawn.arch, only_active))
        slopes = torch.autograd.grad(
            answer.square().sum(), [*parameters, *weights.values()], allow_unused=True
        )
        both.append((answer, slopes))
    (one, ours), (whole, theirs) = both
    assert near(one, whole)
    for a, b in zip(ours[: len(parameters)], theirs[: len(parameters)]):
        assert (a is None and (b is None or not b.any())) or near(a, b)
    for a, b, weight in zip(ours[len(parameters) :], theirs[len(parameters) :], weights.values()):
        assert near(a[weight > 0], b[weight > 0])
        assert not a[weight == 0].any()


def test_the_gates_of_proxylessnas_have_the_gradients_of_a_mixture_of_all_paths() -> None:
    weight = torch.tensor([0.2, -0.1, 0.3], dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    x = torch.randn(5, 3, dtype=torch.float64)
    paths = [nn.Sequential(nn.Linear(3, 3), nn.Tanh()).double() for _ in range(3)]
    gates = gate(weight)
    (ours,) = torch.autograd.grad(
        mixed(gates, [(path, x) for path in paths]).exp().sum(), weight, retain_graph=True
    )
    whole = sum(g * path(x) for g, path in zip(gates, paths))
    (theirs,) = torch.autograd.grad(whole.exp().sum(), weight)
    assert near(ours, theirs)


@pytest.mark.parametrize("seed", [0, 1])
def test_second_order_is_the_gradient_of_the_unrolled_step(
    chain: Any, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, rate = logits_of(chain), 0.05
    rng = torch.Generator().manual_seed(seed)
    y = torch.randint(4, (2, 4), generator=rng)
    largest, method = CHAIN.space.largest(), methods["darts"]()
    weights = dict(chain.named_parameters())

    def loss(x: Tensor, target: Tensor) -> Any:
        def of(other: Any) -> Tensor:
            args = (x, method.relaxation(chain.relaxable, logits, largest))
            outputs = chain(*args) if other is None else functional_call(chain, dict(other), args)
            return F.cross_entropy(outputs, target)

        return of

    train, search = loss(images(), y[0]), loss(images().flip(0) * 1.5, y[1])
    known = list(logits.values())
    ours = torch.cat(exact(known, weights, train, search, rate))
    # By hand: the first-order part at the moved weights, and the mixed second derivative along its gradient.
    slopes = torch.autograd.grad(train(None), list(weights.values()))
    moved = {n: (w - rate * s).detach().requires_grad_() for (n, w), s in zip(weights.items(), slopes)}
    both = torch.autograd.grad(search(moved), [*known, *moved.values()])
    first, along = torch.cat(both[: len(known)]), both[len(known) :]
    slopes = torch.autograd.grad(train(None), list(weights.values()), create_graph=True)
    second = torch.autograd.grad(slopes, known, grad_outputs=[a.detach() for a in along])
    assert near(ours, first - rate * torch.cat(second))
    before = [w.clone() for w in weights.values()]
    # The kinks of ReLU6 lie closer together in so small a network than the usual distance.
    monkeypatch.setattr(bilevel, "DISTANCE", 1e-5)
    assert near(torch.cat(finite(known, weights, train, search, rate)), ours, within=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(before, weights.values()))
    assert not near(torch.cat(first_order(known, search)), ours, within=1e-3)


def test_expected_costs_are_means_over_all_architectures() -> None:
    preset = replace(CHAIN, kernels=(3,), expands=(2, 3))
    supernet = preset.supernet().double()
    space, costs = supernet.space, supernet.costs((1, 3, 16, 16))
    weights = {name: one.softmax(0) for name, one in logits_of(supernet).items()}
    relaxation = Relaxation(weights, space.largest())
    archs = [space.architecture(genes) for genes in product(*(range(len(c.values)) for c in space.choices))]
    p = np.array([prod(float(weights[c.name][g]) for c, g in zip(space.choices, a.genes)) for a in archs])
    genes = space.matrix(archs)
    for what, counts in (("macs", costs.macs(genes)), ("params", costs.params(genes))):
        expected = ExpectedCost(supernet.relaxable, costs, space.largest(), what)(relaxation)  # type: ignore[arg-type]
        assert float(expected.detach()) == pytest.approx(float(p @ counts), rel=1e-12)
    value = ExpectedValue(supernet.relaxable, lambda g: costs.macs(g) * 0.5 + 1, space.smallest())(relaxation)
    assert float(value.detach()) == pytest.approx(float(p @ (costs.macs(genes) * 0.5 + 1)), rel=1e-12)
    value.backward()  # type: ignore[no-untyped-call]


def test_the_expected_cost_of_an_architecture_is_its_cost() -> None:
    preset = NASBench201(cells=1, widths=(2, 4))
    supernet = preset.supernet()
    costs = supernet.costs((1, 3, 8, 8))
    arch = preset.space.sample(Random(4))
    one = supernet.relaxable.one_hot(arch, torch.zeros((), dtype=torch.float64))
    assert float(ExpectedCost(supernet.relaxable, costs, arch)(one)) == costs.of(arch).macs


def trained(folder: Path | None, epochs: int, **search: Any) -> DifferentiableTrainer:
    data = load_data(DataOptions(resolution=8, search_share=0.1))
    preset = NASBench201(cells=1, widths=(2, 4), channels=1, classes=10, resolution=8)
    options = TrainOptions(epochs=epochs, batch_size=512, lr=0.05, warmup=0.0)
    wanted = DifferentiableOptions(warmup=0.0, lr=0.1, **search)
    return DifferentiableTrainer(preset.supernet(), data, options, wanted, folder)


def stopped(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("order", ["first", pytest.param("second", marks=pytest.mark.slow)])
def test_a_search_that_was_stopped_goes_on_to_the_same_logits(tmp_path: Path, order: str) -> None:
    whole = trained(None, 2, method="gdas", order=order)
    found = whole.run()
    first = trained(tmp_path, 2, method="gdas", order=order)
    with pytest.raises(KeyboardInterrupt):
        first.run(lambda step, steps, words: stopped() if step > first.epoch_steps else None)
    again = trained(tmp_path, 2, method="gdas", order=order)
    assert again.step == again.epoch_steps
    assert again.run() == found
    assert all(torch.equal(a, b) for a, b in zip(whole.logits.parameters(), again.logits.parameters()))
    assert again.history == whole.history
    with pytest.raises(StateError, match=r"search\.method"):
        trained(tmp_path, 2, method="darts", order=order)


def test_in_the_warm_up_logits_stay_where_they_are() -> None:
    trainer = trained(None, 1, method="darts")
    trainer.search = DifferentiableOptions(method="darts", warmup=1.0)
    before = [one.detach().clone() for one in trainer.logits.parameters()]
    trainer.run()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.logits.parameters()))
    assert trainer.history[0].search is None


def test_what_can_not_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="first derivative only"):
        trained(None, 1, method="proxylessnas", order="exact")
    empty = Supernet(nn.Linear(2, 2), Plan(SearchSpace(()), {}, {}))
    with pytest.raises(ConfigError, match="no choice of this space"):
        DifferentiableTrainer(empty, load_data(DataOptions(resolution=8)))
