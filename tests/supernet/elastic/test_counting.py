"""Multiply-adds of every kind of call: what PyTorch counts, what is counted by hand, and what nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from supernet.elastic.counting import NO_MACS
from supernet.elastic.elasticise import elasticise
from supernet.elastic.rules import products, rules
from supernet.elastic.rules_product import contracted, labels
from supernet.elastic.trace import Trace, trace
from supernet.errors import ConversionError
from tests.supernet.elastic.nets import Between, images, seeded


def macs_of(traced: Trace) -> int:
    assert all(op.counted for op in traced.ops)
    sizes = {name: group.size for name, group in traced.groups.items()}
    return sum(prod(layout.length(sizes) for layout in part) for op in traced.ops for part in op.macs)


def counted(model: nn.Module, x: Tensor, gradient: bool = False) -> int:
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(gradient):
        model(x)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.ConvTranspose1d(4, 6, 3), (2, 4, 7)),
        (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), (2, 4, 7, 7)),
        (lambda: nn.ConvTranspose2d(4, 8, 3, groups=2), (2, 4, 7, 7)),
        (lambda: nn.ConvTranspose2d(4, 4, 3, groups=4, bias=False), (2, 4, 7, 7)),
        (lambda: nn.ConvTranspose3d(4, 6, 2), (2, 4, 3, 3, 3)),
        (lambda: nn.Conv3d(4, 6, 2, groups=2), (2, 4, 3, 3, 3)),
        (lambda: nn.Conv1d(4, 6, 2), (4, 9)),
        (lambda: nn.MultiheadAttention(8, 2, batch_first=True), (2, 5, 8)),
        (lambda: nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), (2, 5, 8)),
    ],
)
def test_a_layer_multiplies_as_often_as_pytorch_counts(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    layer, x = seeded(make), images(*shape)
    if isinstance(layer, nn.MultiheadAttention):
        layer = _Attending(layer)
    # Without gradients, attention takes a fused path that PyTorch does not count.
    assert macs_of(trace(layer, x, strict=True)) == counted(layer, x, gradient=True) > 0


class _Attending(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (nn.LSTM(4, 6, batch_first=True), 2 * 5 * 4 * 6 * (4 + 6)),
        (nn.LSTM(4, 6, num_layers=2, bidirectional=True), 2 * 5 * 2 * 4 * 6 * ((4 + 6) + (12 + 6))),
        (nn.LSTM(4, 6, proj_size=3), 2 * 5 * (4 * 6 * (4 + 3) + 6 * 3)),
        (nn.GRU(4, 6), 2 * 5 * 3 * 6 * (4 + 6)),
        (nn.RNN(4, 6), 2 * 5 * 6 * (4 + 6)),
        (nn.LSTMCell(4, 6), 10 * 4 * 6 * (4 + 6)),
        (nn.GRUCell(4, 6), 10 * 3 * 6 * (4 + 6)),
        (nn.RNNCell(4, 6), 10 * 6 * (4 + 6)),
        (nn.Bilinear(4, 4, 3), 10 * 3 * 4 * 4),
        (nn.Embedding(4, 6), 0),
    ],
)
def test_where_pytorch_is_blind_the_count_is_that_by_hand(layer: nn.Module, macs: int) -> None:
    x = images(2, 5, 4) if isinstance(layer, nn.RNNBase) else images(10, 4)
    if isinstance(layer, nn.Bilinear):
        layer = _Twice(layer)
    if isinstance(layer, nn.Embedding):
        x = torch.zeros(2, 3, dtype=torch.long)
    assert macs_of(trace(layer.eval(), x, strict=True)) == macs


class _Twice(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x)


EQUATIONS = [
    ("ab,bc->ac", (2, 3), (3, 5)),
    ("ab,bc,cd->ad", (2, 3), (3, 5), (5, 7)),
    ("ab,bc,cd,de->ae", (2, 3), (3, 5), (5, 7), (7, 11)),
    ("...ab,...bc->...ac", (4, 2, 3), (4, 3, 5)),
    ("...a,ab", (4, 2, 3), (3, 5)),
    ("bi,i,ij->bj", (2, 3), (3,), (3, 4)),
    ("abk,ack,ad->bcd", (2, 3, 4), (2, 5, 4), (2, 6)),
    ("h...id,h...jd->h...ij", (6, 2, 3, 4), (6, 2, 5, 4)),
    ("bi,bj->bij", (2, 3), (2, 4)),
    ("ii->i", (3, 3)),
]


@pytest.mark.parametrize("case", EQUATIONS, ids=lambda case: case[0])
def test_an_einsum_multiplies_as_often_as_pytorch_counts(case: tuple[str, ...]) -> None:
    equation, *shapes = case
    first, *others = (images(*shape) for shape in shapes)  # type: ignore[misc]
    model = _Einsum(equation, others)  # type: ignore[arg-type]
    traced = trace(model, first, strict=True)
    assert macs_of(traced) == counted(model, first)


class _Einsum(nn.Module):
    def __init__(self, equation: str, others: list[Tensor]) -> None:
        super().__init__()
        self.equation, self.count = equation, len(others)
        for i, other in enumerate(others):
            self.register_buffer(f"other{i}", other)

    def forward(self, x: Tensor) -> Tensor:
        others = [self.get_buffer(f"other{i}") for i in range(self.count)]
        return torch.einsum(self.equation, x, *others)


def test_a_given_path_is_the_order_of_the_contractions() -> None:
    terms, made = labels("ab,bc,cd->ad", [2, 2, 2])
    wide = [frozenset(term) for term in terms]
    assert contracted(wide, frozenset(made)) == [frozenset("abc"), frozenset("acd")]
    assert contracted(wide, frozenset(made), [1, 2, 0, 1]) == [frozenset("bcd"), frozenset("abd")]


NETWORKS = {
    "vit": lambda: timm.create_model("vit_tiny_patch16_224", depth=2, img_size=32, num_classes=4),
    "swin": lambda: torchvision.models.SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4], num_classes=4),
    "resnet": lambda: timm.create_model("resnet10t", num_classes=4),
    "mobilenet": lambda: timm.create_model("mobilenetv3_small_050", num_classes=4),
    "convnext": lambda: timm.create_model("convnext_atto", num_classes=4),
    "levit": lambda: timm.create_model("levit_128s", num_classes=4, img_size=64),
    "xcit": lambda: timm.create_model("xcit_nano_12_p16_224", num_classes=4, img_size=64, depth=2),
    "mixer": lambda: timm.create_model("mixer_s32_224", num_classes=4, img_size=64),
    "lraspp": lambda: torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4
    ),
    "unet": lambda: UNet(),
}


class UNet(nn.Module):
    """One step down and, by a transposed convolution, one step up again."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 16, 3, padding=1)
        self.deep = nn.Conv2d(16, 24, 3, padding=1)
        self.up = nn.ConvTranspose2d(24, 16, 2, stride=2)
        self.out = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.down(x).relu()
        deep = self.deep(torch.max_pool2d(wide, 2)).relu()
        return self.out(torch.cat([wide, self.up(deep)], 1))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_multiplies_as_often_as_pytorch_counts(name: str) -> None:
    model, x = seeded(NETWORKS[name]), images(2, 3, 64, 64)
    if name == "vit":
        x = images(2, 3, 32, 32)
    macs = macs_of(trace(model, x, strict=True))
    model.requires_grad_(False)
    assert macs == counted(model, x)


def test_a_transposed_convolution_takes_its_channels_along() -> None:
    supernet = elasticise(seeded(UNet), images(1, 3, 16, 16), dims=["hidden"])
    traced = {group["name"]: group for group in supernet.conversion["groups"]}
    assert {name for name, group in traced.items() if group["live"]} == {
        "down.width",
        "deep.width",
        "up.width",
    }
    for arch in (supernet.space.largest(), supernet.space.smallest()):
        alone = supernet.extract(arch).requires_grad_(False)
        assert supernet.costs().of(arch).macs == counted(alone, images(1, 3, 16, 16))


def test_an_op_without_a_rule_counts_what_pytorch_sees_in_it() -> None:
    weight = images(12, 12)
    model = seeded(lambda: Between(lambda x: torch.linalg.multi_dot([x, weight, weight])))
    assert macs_of(trace(model, images(2, 6), strict=True)) == counted(model, images(2, 6))


@torch.library.custom_op("supernet_tests::opaque", mutates_args=())
def opaque(x: Tensor) -> Tensor:
    return x @ x.T @ x


@opaque.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Opaque(nn.Module):
    """A network that asks an op of somebody else."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Between(lambda x: torch.ops.supernet_tests.opaque(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def test_costs_name_the_op_that_nobody_counts() -> None:
    supernet = elasticise(seeded(Opaque), images(2, 6))
    with pytest.raises(ConversionError, match=r"how often the op 'opaque' in inner multiplies"):
        supernet.costs()


def test_an_unknown_op_on_integers_and_masks_multiplies_nothing() -> None:
    table = torch.eye(12, dtype=torch.long)
    model = seeded(lambda: Between(lambda x: x * torch.ops.supernet_tests.opaque(table)[:2]))
    assert macs_of(trace(model, images(2, 6))) == 2 * (6 * 12 + 12 * 5)


def test_every_rule_says_whether_its_op_multiplies() -> None:
    def is_declared(name: str) -> bool:
        packet = getattr(torch.ops.aten, name)
        tags = {tag for overload in packet.overloads() for tag in getattr(packet, overload).tags}
        return name in NO_MACS or name.removesuffix("_") in NO_MACS or torch.Tag.pointwise in tags

    ops = {name for name in rules if rules[name].__module__.startswith("supernet.")} - {"getitem"}
    assert {name for name in ops if is_declared(name) == (name in products)} == set()


def test_every_op_with_a_rule_or_a_declaration_is_one_of_pytorch() -> None:
    named = {name for name in rules if rules[name].__module__.startswith("supernet.")} | NO_MACS
    assert {name for name in named - {"getitem"} if not hasattr(torch.ops.aten, name)} == set()
