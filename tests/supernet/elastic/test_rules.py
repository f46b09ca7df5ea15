from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.elastic.elasticise import elasticise
from supernet.elastic.groups import Unit, compressed, fixed, fresh, is_fixed, regroup, tie, units
from supernet.elastic.rules import rules
from supernet.elastic.trace import Trace, trace
from supernet.errors import ConversionError
from tests.supernet.elastic.nets import Between, images, seeded


def traced(between: Callable[[Tensor], Tensor], wide: int = 12, out: int | None = None) -> Trace:
    return trace(seeded(lambda: Between(between, wide, out)), images(2, 6))


def test_two_halves_that_are_multiplied_are_one_size() -> None:
    found = traced(lambda x: torch.mul(*x.chunk(2, -1)), out=6)
    group = found.group("first.weight")
    assert group.size == 6
    assert found.layouts["first.weight"][0] == ((2, group.name),)
    assert found.layouts["last.weight"][1] == ((group.name,),)


def test_a_concatenation_is_its_parts_end_to_end() -> None:
    found = traced(lambda x: torch.cat([x, x[:, :4]], -1), out=16)
    (first, second, third) = found.layouts["last.weight"][1]
    assert (first, second) == found.layouts["first.weight"][0]
    assert third == first


def test_shuffled_channels_are_followed_through_the_transpose() -> None:
    found = traced(lambda x: x.view(2, 3, 4).transpose(1, 2).reshape(2, 12))
    ((outer, inner),) = found.layouts["first.weight"][0]
    assert found.layouts["last.weight"][1] == ((inner, outer),)


def test_pieces_taken_apart_and_put_together_hold_the_same_units() -> None:
    def swapped(x: Tensor) -> Tensor:
        a, b = x.split([4, 8], -1)
        return torch.cat([b, a], -1)

    found = traced(swapped)
    assert found.layouts["last.weight"][1] == found.layouts["first.weight"][0][::-1]


@pytest.mark.parametrize(
    ("between", "why"),
    [
        (lambda x: x.softmax(-1), "softmax"),
        (lambda x: x.flip(-1), "flip"),
        (lambda x: x - x.logsumexp(-1, keepdim=True), "logsumexp"),
        (lambda x: x[:, ::2].repeat(1, 2), "every other"),
        (lambda x: x + torch.arange(12.0), "fixed size"),
    ],
)
def test_what_mixes_the_entries_of_an_axis_keeps_it_whole(
    between: Callable[[Tensor], Tensor], why: str
) -> None:
    groups = traced(between).groups.values()
    reasons = [group.fixed for group in groups if ("first.weight", 0) in group.members]
    assert reasons
    assert all(reason is not None and why in reason for reason in reasons)


@pytest.mark.parametrize("equation", ["bhi,bhj->bhij", "bhi,bhi->bh"])
def test_einsum_follows_letters(equation: str) -> None:
    def between(x: Tensor) -> Tensor:
        y = x.view(2, 3, 4)
        return torch.einsum(equation, y, y).flatten(1)

    found = traced(between, out=48 if equation.endswith("ij") else 3)
    heads = [g for g in found.groups.values() if g.size == 3 and ("last.weight", 1) in g.members]
    assert [group.fixed for group in heads] == [None]


def test_groups_of_a_convolution_move_as_wholes() -> None:
    model = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 24, 3, groups=4), nn.Conv2d(24, 2, 1))
    )
    found = trace(model, images(1, 3, 8, 8))
    group = found.group("1.weight")
    assert group.size == 4
    assert found.layouts["0.weight"][0] == ((group.name, 3),)
    assert found.layouts["2.weight"][1] == ((group.name, 6),)


def test_a_unit_becomes_what_it_is_tied_to() -> None:
    channels, heads = fresh(24), ((Unit(6), 4),)
    tie(channels, heads, "test")
    assert compressed(channels) == heads


def test_two_divisions_of_one_size_freeze_each_other() -> None:
    a, b = ((Unit(4), 6),), ((Unit(3), 8),)
    tie(a, b, "test")
    assert all(unit.fixed for axis in (a, b) for unit in units(axis))


def test_a_reshape_to_heads_and_back_is_the_same_axis() -> None:
    channels = fresh(24)
    heads = regroup([fixed(2), channels], (2, 6, 4))
    assert compressed(regroup(heads, (2, 24))[1]) == compressed(channels)


def test_axes_of_one_entry_are_fixed() -> None:
    assert is_fixed(fresh(1))


def reasons(found: Trace) -> list[str | None]:
    return [group.fixed for group in found.groups.values() if ("first.weight", 0) in group.members]


def cond(x: Tensor) -> Tensor:
    return torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,))


@torch.library.custom_op("supernet_tests::pair", mutates_args=())
def pair(x: Tensor) -> list[Tensor]:
    return [x * 2, x * 3]


@pair.register_fake
def _(x: Tensor) -> list[Tensor]:
    return [torch.empty_like(x), torch.empty_like(x)]


def without_gradient(x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False), torch.no_grad():
        return x * 2


@pytest.mark.parametrize(
    "between",
    [
        lambda x: x.sort(-1).values,
        lambda x: x.sort(dim=-1, stable=True)[0],
        lambda x: torch.cat([x.topk(6, -1).values] * 2, -1),
        lambda x: x.cummax(-1)[0],
        lambda x: x - x.median(-1, keepdim=True).values,
        lambda x: x.roll(1),
        lambda x: torch.fft.fft(x).real,
        lambda x: torch.ops.supernet_tests.pair(x)[1],
        cond,
    ],
)
def test_an_op_that_nobody_follows_keeps_what_it_reads_whole_and_is_no_error(
    between: Callable[[Tensor], Tensor],
) -> None:
    found = traced(between)
    assert reasons(found)
    assert all(reasons(found))


@pytest.mark.parametrize(
    "between",
    [
        lambda x: x + torch.zeros(2, 1),
        lambda x: x * torch.tensor([1.5]),
        lambda x: x.sort(0).values,
        lambda x: torch.where(x > 0, x, 0.1 * x),
        lambda x: x.masked_fill(x < 0, 0),
        lambda x: F.normalize(x, dim=-1),
        lambda x: torch.cat([x, torch.ones(2, 12)], -1)[:, :12],
        without_gradient,
    ],
)
def test_what_leaves_the_entries_of_an_axis_apart_keeps_nothing_whole(
    between: Callable[[Tensor], Tensor],
) -> None:
    assert reasons(traced(between)) == [None]


def test_a_rule_that_contradicts_the_graph_counts_as_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(rules._entries, "cumsum", lambda walk, node, args: (fixed(2), fixed(7)))
    monkeypatch.setitem(rules._entries, "relu", lambda walk, node, args: args["nothing like this"])
    for broken in (Between(lambda x: x.cumsum(0)), Between(torch.relu)):
        found = trace(broken, images(2, 6))
        assert all(reason and "does not fit its call" in reason for reason in reasons(found))
        with pytest.raises((AssertionError, KeyError)):
            trace(broken, images(2, 6), strict=True)
    assert "does not fit the call cumsum" in caplog.text


def test_a_network_whose_sizes_depend_on_its_input_is_refused_with_the_op() -> None:
    with pytest.raises(ConversionError, match="index in the network answers depends on the values"):
        traced(lambda x: x[x[:, 0] > 0])


def gelu_by_hand(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("between", [gelu_by_hand, lambda x: x + x.relu(), lambda x: x - 0.5 * x.sigmoid()])
def test_a_sum_of_functions_of_one_result_is_no_residual(between: Callable[[Tensor], Tensor]) -> None:
    assert traced(between).group("first.weight").kind == "hidden"


class Residual(nn.Module):
    """A path that another layer is added to, once with a layer on both."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.first, self.inner, self.other = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(6, 12)
        self.last = nn.Linear(12, 5)
        self.both = both

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).relu()
        return self.last((self.other(x) if self.both else gelu_by_hand(y)) + self.inner(y))


@pytest.mark.parametrize("both", [True, False])
def test_a_sum_over_different_layers_is_a_residual(both: bool) -> None:
    found = trace(seeded(lambda: Residual(both)), images(2, 6))
    assert found.group("inner.weight").kind == "residual"


def rms_norm(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)


def layer_norm(x: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / ((x - mean).pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()


def standardised(x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, dim=-1, keepdim=True, correction=0)
    return (x - mean) / (variance + 1e-5).sqrt()


def by_methods(x: Tensor) -> Tensor:
    return (x - x.mean(-1, True)) / x.std(dim=[-1], keepdim=True)


NORMS = [rms_norm, layer_norm, standardised, by_methods, lambda x: x - x.amax(-1, keepdim=True)]


@pytest.mark.parametrize("norm", NORMS)
def test_a_norm_written_by_hand_is_taken_over_the_entries_that_are_left(
    norm: Callable[[Tensor], Tensor],
) -> None:
    supernet = elasticise(seeded(lambda: Between(norm)), images(2, 6), dims=["hidden", "residual"])
    group = next(g for g in supernet.conversion["groups"] if ["first.weight", 0] in map(list, g["members"]))
    assert group["reason"] is None
    arch = supernet.space.smallest()
    alone = supernet.extract(arch)
    width = alone.first.weight.shape[0]
    assert width < 12
    by_hand = Between(norm, width)
    by_hand.load_state_dict(alone.state_dict())
    torch.testing.assert_close(by_hand(images(2, 6)), supernet(images(2, 6), arch))


def test_means_that_the_trace_did_not_see_are_not_taken_for_checked() -> None:
    """The network takes another mean of the same kind whenever gradients are off, as in the check."""

    def between(x: Tensor) -> Tensor:
        extra = 0 if torch.compiler.is_exporting() else 0 * x.mean(-1, keepdim=True)
        return rms_norm(x + extra)

    supernet = elasticise(seeded(lambda: Between(between)), images(2, 6))
    group = next(g for g in supernet.conversion["groups"] if ["first.weight", 0] in map(list, g["members"]))
    assert "other means" in group["reason"]
