"""What a network keeps outside of its registered tensors and modules belongs to each copy of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from supernet import elasticise
from supernet.elastic.references import reached, storages
from supernet.elastic.storage import stored_tensors
from supernet.elastic.supernet import Supernet
from supernet.errors import ConversionError
from tests.supernet.elastic.nets import images, seeded


@dataclass
class Holder:
    """A plain object that holds a module."""

    module: nn.Module


class Kept(nn.Module):
    """Calls its hidden layer through whatever ``keep`` made of it."""

    def __init__(self, keep: Callable[[nn.Module], Any], call: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 5)
        self.kept, self.call = keep(self.first), call

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.call(self.kept, x).relu())


def closed_over(module: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: module(x)


WAYS: dict[str, tuple[Callable[[nn.Module], Any], Callable[[Any, Tensor], Tensor]]] = {
    "list": (lambda m: [m], lambda kept, x: kept[0](x)),
    "tuple": (lambda m: (1, (m,)), lambda kept, x: kept[1][0](x)),
    "dictionary": (lambda m: {"it": [m]}, lambda kept, x: kept["it"][0](x)),
    "set": (lambda m: {m}, lambda kept, x: next(iter(kept))(x)),
    "bound method": (lambda m: m.forward, lambda kept, x: kept(x)),
    "partial": (lambda m: partial(m.forward), lambda kept, x: kept(x)),
    "closure": (closed_over, lambda kept, x: kept(x)),
    "object": (Holder, lambda kept, x: kept.module(x)),
    "weights in a list": (
        lambda m: [m.weight, m.bias],
        lambda kept, x: nn.functional.linear(x, *kept),
    ),
}


def kept(way: str) -> Supernet:
    return elasticise(seeded(lambda: Kept(*WAYS[way])), (2, 6))


def all_tensors(network: nn.Module) -> list[Tensor]:
    """Every tensor of a network, however it is kept."""
    out = [*network.parameters(), *network.buffers()]
    for module in network.modules():
        for value in module.__dict__.values():
            for one in reached(value):
                out += [one] if isinstance(one, Tensor) else all_tensors(one) if one is not network else []
    return out


@pytest.mark.parametrize("way", WAYS)
def test_a_module_that_is_also_kept_elsewhere_is_the_one_of_the_subnet(way: str) -> None:
    net, x = kept(way), images(3, 6)
    small = net.space.smallest()
    # `torch.export` takes weights in a list for constants, so this one stays whole.
    assert way == "weights in a list" or net.plan.sizes(small)["first.width"] < 32
    inside, alone = net(x, small), net.extract(small)
    torch.testing.assert_close(inside, alone(x), rtol=0, atol=0)
    torch.testing.assert_close(net.subnet(small)(x), inside, rtol=0, atol=0)
    with torch.no_grad():
        for parameter in alone.parameters():
            parameter.zero_()
    assert alone(x).abs().max() == 0
    torch.testing.assert_close(net(x, small), inside, rtol=0, atol=0)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_cut_out_shares_no_memory_with_the_supernet(way: str) -> None:
    net = kept(way)
    for arch in (net.space.smallest(), net.space.largest()):
        alone = net.extract(arch)
        assert not storages(all_tensors(alone)).keys() & storages(all_tensors(net.largest)).keys()


def test_a_hook_that_holds_its_module_holds_that_of_the_copy() -> None:
    class Hooked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 5)
            first = self.first
            self.last.register_forward_hook(lambda module, args, out: out + first.bias.sum())

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).relu())

    net, x = elasticise(seeded(Hooked), (2, 6)), images(3, 6)
    small = net.space.smallest()
    alone = net.extract(small)
    torch.testing.assert_close(net(x, small), alone(x), rtol=0, atol=0)
    with torch.no_grad():
        net.largest.first.bias.fill_(100)
    assert alone(x).abs().max() < 50


@pytest.mark.parametrize("op", [torch.ops.aten.relu, torch.ops.aten.relu.default, torch.relu])
def test_an_op_that_a_module_keeps_is_the_same_op_in_every_copy(op: Callable[[Tensor], Tensor]) -> None:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last, self.op = nn.Linear(6, 32), nn.Linear(32, 5), op

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.op(self.first(x)))

    net, x = elasticise(seeded(Keeps), (2, 6)), images(3, 6)
    alone = net.extract(net.space.smallest())
    assert alone.op is op
    torch.testing.assert_close(net(x, net.space.smallest()), alone(x), rtol=0, atol=0)


def test_what_can_not_be_copied_is_named() -> None:
    class Stubborn:
        def __init__(self, module: nn.Module) -> None:
            self.module = module

        def __copy__(self) -> Stubborn:
            return self

    net = seeded(lambda: Kept(Stubborn, lambda kept, x: kept.module(x)))
    with pytest.raises(ConversionError, match=r"'kept' .*Stubborn holds a part of the network"):
        elasticise(net, (2, 6)).extract(elasticise(net, (2, 6)).space.smallest())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda conv: prune.l1_unstructured(conv, "weight", 0.5), r"'0\.weight'.*prune\.remove"),
        (torch.nn.utils.weight_norm, r"'0\.weight'.*remove_weight_norm"),
    ],
)
def test_weights_computed_by_a_hook_are_refused_with_the_remedy(
    spoil: Callable[[nn.Module], Any], message: str
) -> None:
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 1)))
    spoil(model[0])
    with pytest.raises(ConversionError, match=message):
        elasticise(model, (1, 3, 8, 8))


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_parametrised_weights_stay_whole_or_hold(name: str) -> None:
    def make() -> nn.Module:
        convs = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU(), nn.Conv2d(16, 4, 1)]
        getattr(nn.utils.parametrizations, name)(convs[2])
        return nn.Sequential(*convs)

    model, x = seeded(make), images(2, 3, 8, 8)
    given = model(x)
    net = elasticise(copy.deepcopy(model), x)
    torch.testing.assert_close(net(x, net.space.largest()), given, rtol=0, atol=0)
    small = net.space.smallest()
    torch.testing.assert_close(net(x, small), net.extract(small)(x), rtol=0, atol=0)


class Tied(nn.Module):
    """A language model's two ends: the classifier is the embedding."""

    def __init__(self, wide: int = 48) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 32)
        self.mix = nn.Linear(32, wide)
        self.back = nn.Linear(wide, 32)
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 20, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        return self.head(self.norm(x + self.back(self.mix(x).relu())))


def tied() -> Supernet:
    return elasticise(seeded(Tied), args=(torch.arange(6).view(2, 3),))


def test_tied_weights_are_one_in_every_subnet() -> None:
    net, ids = tied(), torch.arange(6).view(2, 3)
    small, large = net.space.smallest(), net.space.largest()
    assert net.plan.sizes(small)["back.residual"] < 32
    for arch in (small, large):
        alone = net.extract(arch)
        assert alone.head.weight is alone.embedding.weight
        bound = net.subnet(arch).network
        assert bound.head.weight is bound.embedding.weight
        torch.testing.assert_close(net(ids, arch), alone(ids), rtol=0, atol=0)
        assert net.costs().of(arch).params == sum(p.numel() for p in alone.parameters())
    assert sum(p.numel() for p in net.extract(large).parameters()) == sum(
        p.numel() for p in Tied().parameters()
    )


def test_tied_weights_train_as_those_of_the_cut_out_network() -> None:
    net, ids = tied(), torch.arange(6).view(2, 3)
    small = net.space.smallest()
    alone = net.extract(small)
    net(ids, small).square().sum().backward()
    alone(ids).square().sum().backward()
    ours = net.largest.embedding.weight.grad
    wide = alone.embedding.weight.shape[1]
    torch.testing.assert_close(ours[:, :wide], alone.embedding.weight.grad)
    assert ours[:, wide:].abs().max() == 0


def test_tied_weights_are_sorted_and_saved_once(tmp_path: Any) -> None:
    from supernet.elastic.reorder import reorder

    net, ids = tied(), torch.arange(6).view(2, 3)
    before = net(ids, net.space.largest())
    reorder(net)
    torch.testing.assert_close(net(ids, net.space.largest()), before)
    assert "head.weight" not in stored_tensors(net.largest)
    net.save(tmp_path)
    loaded = Supernet.load(tmp_path, model=seeded(Tied, seed=3))
    assert loaded.largest.head.weight is loaded.largest.embedding.weight
    small = net.space.smallest()
    torch.testing.assert_close(loaded(ids, small), net(ids, small), rtol=0, atol=0)


def test_a_weight_tied_to_two_sizes_is_one_group_or_stays_whole() -> None:
    class Square(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.a, self.b, self.last = (
                *(nn.Linear(6, 32), nn.Linear(32, 32, bias=False), nn.Linear(32, 32, bias=False)),
                nn.Linear(32, 4),
            )
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.b(self.a(self.first(x)).relu()).relu())

    net, x = elasticise(seeded(Square), (2, 6)), images(2, 6)
    assert len(net.space) == 1
    small = net.space.smallest()
    alone = net.extract(small)
    assert alone.a.weight is alone.b.weight
    torch.testing.assert_close(net(x, small), alone(x), rtol=0, atol=0)


def test_a_block_whose_weights_others_share_is_never_left_out() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(32, 32)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.mix(x).relu()

    def make(tie: bool) -> nn.Module:
        torch.manual_seed(0)
        blocks = [Residual() for _ in range(3)]
        if tie:
            blocks[2].mix.weight = blocks[1].mix.weight
        return nn.Sequential(nn.Linear(6, 32), nn.Sequential(*blocks), nn.Linear(32, 4))

    def kinds(tie: bool) -> set[str]:
        return {choice.name for choice in elasticise(make(tie).eval(), (2, 6)).space.choices}

    assert "1.depth" in kinds(tie=False)
    assert "1.depth" not in kinds(tie=True)


def test_a_recurrent_layer_runs_the_weights_of_the_subnet() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.rnn, self.last = (
                nn.Linear(6, 32),
                nn.LSTM(32, 8, batch_first=True),
                nn.Linear(8, 3),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.rnn(self.first(x).relu())[0])

    net, x = elasticise(seeded(Recurrent), (2, 4, 6)), images(2, 4, 6)
    for arch in (net.space.smallest(), net.space.largest()):
        alone = net.extract(arch)
        torch.testing.assert_close(net(x, arch), alone(x), rtol=0, atol=0)
        assert all(a is b for a, b in zip(alone.rnn._flat_weights, alone.rnn.parameters()))
