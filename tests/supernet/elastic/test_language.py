"""Language models: heads, widths, residual paths and depths are elastic, and right."""

from __future__ import annotations

from math import prod
from random import Random

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from supernet.elastic.elasticise import elasticise
from supernet.elastic.supernet import Supernet
from tests.supernet.elastic.language import NETWORKS, gpt2, ids, inputs_of, llama
from tests.supernet.elastic.nets import seeded


def converted(name: str, blocks: int = 2) -> Supernet:
    return elasticise(seeded(lambda: NETWORKS[name](blocks)), kwargs=inputs_of(name))


@pytest.fixture(scope="module", params=NETWORKS)
def case(request: pytest.FixtureRequest) -> tuple[str, Supernet]:
    return request.param, converted(request.param)


def test_heads_widths_residuals_and_depths_are_elastic(case: tuple[str, Supernet]) -> None:
    _, supernet = case
    live = {group["kind"] for group in supernet.conversion["groups"] if group["live"]}
    assert {"hidden", "heads", "residual"} <= live
    assert supernet.conversion["stages"]


@pytest.mark.parametrize("seed", range(4))
def test_inside_and_cut_out_are_one_network(case: tuple[str, Supernet], seed: int) -> None:
    name, supernet = case
    space = supernet.space
    arch = (space.largest(), space.smallest())[seed] if seed < 2 else space.sample(Random(seed))
    with torch.no_grad():
        inside = supernet.subnet(arch)(**inputs_of(name)).logits
        alone = supernet.extract(arch).eval()(**inputs_of(name)).logits
    torch.testing.assert_close(inside, alone)


@pytest.mark.parametrize("seed", range(2))
def test_costs_are_those_counted_on_the_cut_out_network(case: tuple[str, Supernet], seed: int) -> None:
    name, supernet = case
    arch = supernet.space.sample(Random(seed)) if seed else supernet.space.smallest()
    alone = supernet.extract(arch).eval()
    cost = supernet.costs().of(arch)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        alone(**inputs_of(name))
    assert cost.macs == counter.get_total_flops() // 2 // 2  # of two sequences
    names = [name for name, _ in supernet.largest.named_parameters()]
    held = [alone.get_parameter(name) for name in names if _holds(alone, name)]
    assert cost.params == sum(parameter.numel() for parameter in held)


def _holds(network: nn.Module, name: str) -> bool:
    return name in dict(network.named_parameters(remove_duplicate=False))


def chosen(supernet: Supernet, **wanted: object) -> object:
    """The architecture in which every choice whose name ends like a keyword has that value."""
    values = {choice.name: choice.values[-1] for choice in supernet.space.choices}
    for suffix, value in wanted.items():
        for name in values:
            if name.endswith(suffix):
                values[name] = value
    return supernet.space.encode(values)


@pytest.mark.parametrize("sizes", [(24, 32, 2, 1), (16, 48, 4, 2)])
def test_a_small_llama_is_the_one_that_its_configuration_makes(sizes: tuple[int, int, int, int]) -> None:
    hidden, inner, groups, depth = sizes
    supernet = converted("llama")
    arch = chosen(supernet, residual=hidden, width=inner, heads=groups, depth=depth)
    alone = supernet.extract(arch)
    by_hand = llama(
        depth,
        hidden_size=hidden,
        intermediate_size=inner,
        num_attention_heads=2 * groups,
        num_key_value_heads=groups,
    ).eval()
    by_hand.load_state_dict(alone.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(by_hand(ids()).logits, alone(ids()).logits)


def test_a_small_gpt2_is_the_one_that_its_configuration_makes() -> None:
    supernet = converted("gpt2")
    arch = chosen(supernet, residual=24, width=64, heads=3, depth=1)
    alone = supernet.extract(arch)
    by_hand = gpt2(1, n_embd=24, n_head=3, n_inner=64).eval()
    by_hand.load_state_dict(alone.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(by_hand(ids()).logits, alone(ids()).logits)


def test_the_number_of_heads_follows_in_the_cut_out_attention() -> None:
    supernet = converted("gpt2")
    alone = supernet.extract(chosen(supernet, heads=2))
    attention = alone.transformer.h[1].attn
    assert (attention.num_heads, attention.split_size, attention.c_attn.nf) == (2, 16, 48)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_twelve_blocks_have_ten_billion_subnets(name: str) -> None:
    supernet = converted(name, blocks=12)
    assert prod(len(choice.values) for choice in supernet.space.choices) >= 10**10
    arch = supernet.space.sample(Random(0))
    with torch.no_grad():
        inside = supernet.subnet(arch)(**inputs_of(name)).logits
        alone = supernet.extract(arch).eval()(**inputs_of(name)).logits
    torch.testing.assert_close(inside, alone)


class Remembering(nn.Module):
    """A network around a model of `transformers` that hands it a mask of booleans."""

    def __init__(self) -> None:
        super().__init__()
        self.model = llama()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        causal = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).tril()
        return self.model(
            tokens, attention_mask=causal.expand(len(tokens), 1, -1, -1), use_cache=False
        ).logits


def test_a_mask_of_booleans_keeps_nothing_whole() -> None:
    supernet = elasticise(seeded(Remembering), ids())
    kinds = {group["kind"] for group in supernet.conversion["groups"] if group["live"]}
    assert {"hidden", "heads", "residual"} <= kinds
