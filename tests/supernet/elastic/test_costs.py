"""Costs from tables against costs that were counted."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import supernet.elastic.costs as costing
from supernet.elastic.costs import Costs
from supernet.elastic.elasticise import elasticise
from supernet.elastic.plan import Dim, Plan
from supernet.elastic.supernet import Supernet
from supernet.elastic.trace import Op, trace
from supernet.elastic.translate import costs_at, in_dims
from supernet.errors import ConversionError
from supernet.space import Choice, SearchSpace
from tests.tiny import tiny_images, tiny_supernet


@pytest.fixture(scope="module")
def tiny() -> Supernet:
    return tiny_supernet()


@pytest.fixture(scope="module")
def costs(tiny: Supernet) -> Costs:
    return costs_of(tiny)


def costs_of(supernet: Supernet) -> Costs:
    return costs_at(supernet.largest, supernet.plan, (1, 3, 32, 32))


def genomes(space: SearchSpace, count: int, seed: int = 0) -> NDArray[np.int64]:
    most = [len(choice.values) for choice in space.choices]
    return np.random.default_rng(seed).integers(0, most, (count, len(space)))


def counted(network: nn.Module) -> tuple[int, int, int]:
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        network(tiny_images(1))
    stored = network.state_dict().values()
    return (
        flops.get_total_flops() // 2,
        sum(parameter.numel() for parameter in network.parameters()),
        sum(tensor.numel() * tensor.element_size() for tensor in stored),
    )


@pytest.mark.parametrize("seed", range(6))
def test_macs_parameters_and_bytes_are_those_counted_on_the_cut_out_network(
    tiny: Supernet, costs: Costs, seed: int
) -> None:
    space = tiny.space
    arch = (space.largest(), space.smallest())[seed] if seed < 2 else space.sample(Random(seed))
    cost = costs.of(arch)
    assert (cost.macs, cost.params, cost.weight_bytes) == counted(tiny.extract(arch))


@pytest.mark.parametrize("seed", range(4))
def test_the_peak_is_that_of_the_cut_out_networks_own_trace(tiny: Supernet, costs: Costs, seed: int) -> None:
    arch = tiny.space.sample(Random(seed)) if seed else tiny.space.smallest()
    alone = tiny.extract(arch)
    nothing = Plan(SearchSpace(()), {}, {})
    own = Costs(nothing, in_dims(trace(alone, tiny_images(1)), nothing), alone)
    assert costs.of(arch).peak_activation_bytes == own.of(nothing.space.largest()).peak_activation_bytes


def test_a_batch_of_genomes_costs_what_its_architectures_cost(tiny: Supernet, costs: Costs) -> None:
    genes = genomes(tiny.space, 50)
    each = [costs.of(tiny.space.architecture(row)) for row in genes.tolist()]
    assert costs.macs(genes).tolist() == [cost.macs for cost in each]
    assert costs.params(genes).tolist() == [cost.params for cost in each]
    assert costs.weight_bytes(genes).tolist() == [cost.weight_bytes for cost in each]
    assert costs.peak_activation_bytes(genes).tolist() == [cost.peak_activation_bytes for cost in each]


def test_genes_that_do_not_matter_cost_nothing(tiny: Supernet, costs: Costs) -> None:
    genes = genomes(tiny.space, 500)
    canonical = tiny.space.canonical(genes)
    assert (genes != canonical).any()
    for count in (costs.macs, costs.params, costs.weight_bytes, costs.peak_activation_bytes):
        np.testing.assert_array_equal(count(genes), count(canonical))


def test_multiplying_out_gives_what_the_tables_give(
    tiny: Supernet, costs: Costs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costing, "ENTRIES", 2)
    slow = costs_of(tiny)
    genes = genomes(tiny.space, 300)
    np.testing.assert_array_equal(slow.macs(genes), costs.macs(genes))
    np.testing.assert_array_equal(slow.params(genes), costs.params(genes))


def test_more_architectures_than_fit_the_cache_are_counted_in_parts(tiny: Supernet, costs: Costs) -> None:
    genes = genomes(tiny.space, 2 * costing.ROWS + 1)
    halves = [costs.macs(genes[: costing.ROWS]), costs.macs(genes[costing.ROWS :])]
    np.testing.assert_array_equal(costs.macs(genes), np.concatenate(halves))
    assert costs.macs(genes[:0]).shape == costs.peak_activation_bytes(genes[:0]).shape == (0,)


def test_a_peak_counts_views_and_calls_in_place_as_nothing() -> None:
    space = SearchSpace((Choice("width", (4, 8)),))
    plan = Plan(space, {"w": Dim("w", 8, ("width",), np.array([4, 8]))}, {})
    wide, one = (((1,),), (("w",),)), (((1,),), ((1,),))
    ops = (
        Op("linear", "a", (), (), wide),
        Op("relu_", "b", (0,), (), wide, alias=0),
        Op("view", "", (1,), (), wide, alias=1),
        Op("linear", "c", (2,), (), one),
        Op("add", "", (3, 3), (), one),
    )
    costs = Costs(plan, ops, nn.Identity())
    assert costs.peak_activation_bytes(np.array([[0], [1]])).tolist() == [4 * (4 + 1), 4 * (8 + 1)]


def test_costs_are_remembered_by_shape_and_follow_the_resolution(tiny: Supernet) -> None:
    arch = tiny.space.sample(Random(1))
    at_32, at_64 = tiny.costs((1, 3, 32, 32)), tiny.costs((1, 3, 32, 32), resolution=64)
    assert tiny.costs((1, 3, 32, 32)) is at_32
    assert at_32.of(arch).params == at_64.of(arch).params
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        tiny.extract(arch)(torch.zeros(1, 3, 64, 64))
    assert at_64.of(arch).macs == flops.get_total_flops() // 2
    assert tiny.costs((4, 3, 64, 64)).of(arch) == at_64.of(arch)


def test_costs_of_a_supernet_that_was_not_traced_ask_for_a_shape(tiny: Supernet) -> None:
    with pytest.raises(ConversionError, match=r"supernet\.costs\(\(1, 3, 224, 224\)\)"):
        tiny.costs()
    with pytest.raises(ConversionError, match="does not run"):
        tiny.costs((1, 4, 32, 32))


def test_a_chosen_resolution_is_what_each_architecture_is_counted_at(tiny: Supernet) -> None:
    plain = tiny.extract(tiny.space.largest())
    resized = elasticise(plain, (2, 3, 32, 32), dims=["hidden"], resolution=(24, 32), verify=False)
    for seed in range(4):
        arch = resized.space.sample(Random(seed))
        side = int(resized.space.decode(arch)["resolution"])
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            resized.extract(arch)(torch.zeros(1, 3, side, side))
        assert resized.costs().of(arch).macs == flops.get_total_flops() // 2
