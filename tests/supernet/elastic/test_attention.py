"""PyTorch's attention layer with some of its heads."""

from __future__ import annotations

import copy
import pickle
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer

from supernet.elastic.attention import NarrowAttention
from supernet.elastic.elasticise import elasticise
from supernet.elastic.supernet import Supernet
from tests.supernet.elastic.nets import images, seeded

CAUSAL = torch.ones(5, 5, dtype=torch.bool).triu(1)
PADDING = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])


def with_heads(layer: nn.MultiheadAttention, keep: int) -> nn.MultiheadAttention:
    """The layer with its first heads only, as parameters of their own."""
    narrow = copy.deepcopy(layer)
    narrow.__class__ = NarrowAttention
    rows = keep * layer.head_dim

    def cut(weight: Tensor | None) -> Any:
        if weight is None:
            return None
        parts = weight.unflatten(0, (-1, layer.embed_dim))[:, :rows]
        return nn.Parameter(parts.flatten(0, 1).detach().clone())

    for name in ("in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
        setattr(narrow, name, cut(getattr(layer, name)))
    narrow.out_proj.weight = nn.Parameter(layer.out_proj.weight[:, :rows].detach().clone())
    narrow.num_heads = keep
    return narrow


def without_heads(layer: nn.MultiheadAttention, keep: int) -> nn.MultiheadAttention:
    """The whole layer with zeros where the other heads go into the result."""
    silent = copy.deepcopy(layer)
    with torch.no_grad():
        silent.out_proj.weight[:, keep * layer.head_dim :] = 0
    return silent


def shuffled(layer: nn.MultiheadAttention) -> nn.MultiheadAttention:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    return layer.eval()


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize(
    "masks",
    [
        {},
        {"attn_mask": CAUSAL},
        {"attn_mask": CAUSAL, "is_causal": True},
        {"attn_mask": images(5, 5)},
        {"key_padding_mask": PADDING},
        {"attn_mask": CAUSAL, "key_padding_mask": PADDING},
    ],
    ids=lambda masks: "+".join(masks) or "no mask",
)
@pytest.mark.parametrize("first", [True, False])
def test_narrow_attention_is_attention_without_the_other_heads(
    first: bool, masks: dict[str, Any], weights: bool
) -> None:
    layer = shuffled(nn.MultiheadAttention(12, 3, batch_first=first))
    x = images(2, 5, 12) if first else images(5, 2, 12)
    said, shown = with_heads(layer, 2)(x, x, x, need_weights=weights, **masks)
    wanted, _ = without_heads(layer, 2)(x, x, x, need_weights=weights, **masks)
    torch.testing.assert_close(said, wanted)
    assert (shown is None) != weights
    if weights:
        _, each = layer(x, x, x, average_attn_weights=False, **masks)
        torch.testing.assert_close(shown, each[:, :2].mean(1))


def test_widths_of_keys_and_values_may_be_others() -> None:
    layer = shuffled(nn.MultiheadAttention(12, 3, kdim=6, vdim=4, bias=False, batch_first=True))
    given = images(2, 5, 12), images(2, 7, 6, seed=1), images(2, 7, 4, seed=2)
    torch.testing.assert_close(with_heads(layer, 1)(*given)[0], without_heads(layer, 1)(*given)[0])


def test_a_sequence_without_a_batch_is_one_sequence() -> None:
    layer = shuffled(nn.MultiheadAttention(12, 3))
    x = images(5, 12)
    said, shown = with_heads(layer, 2)(x, x, x)
    torch.testing.assert_close(said, without_heads(layer, 2)(x, x, x)[0])
    assert shown is not None
    assert shown.shape == (5, 5)


def test_a_hint_without_its_mask_is_refused_as_pytorch_refuses_it() -> None:
    layer, x = with_heads(shuffled(nn.MultiheadAttention(12, 3)), 2), images(5, 2, 12)
    with pytest.raises(RuntimeError, match="is_causal"):
        layer(x, x, x, is_causal=True)


class Encoder(nn.Module):
    """PyTorch's encoder between two linear layers."""

    def __init__(self, norm_first: bool = False, batch_first: bool = True) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 48, batch_first=batch_first, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x)))


class Crossing(nn.Module):
    """Queries that attend to something of another width, and attention maps that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.other = nn.Linear(6, 32), nn.Linear(6, 24)
        self.attention = nn.MultiheadAttention(32, 4, kdim=24, vdim=24, batch_first=True)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.embed(x), self.other(x.flip(1)).relu()
        said, _ = self.attention(y, z, z)
        return self.head(self.norm(y + said))


def agreeing(model: nn.Module, x: Tensor) -> Supernet:
    supernet = elasticise(seeded(lambda: model), x)
    space = supernet.space
    for arch in (space.largest(), space.smallest(), *(space.sample(Random(seed)) for seed in range(3))):
        alone = supernet.extract(arch).eval()
        with torch.no_grad():
            torch.testing.assert_close(supernet(x, arch), alone(x))
        assert pickle.loads(pickle.dumps(alone)) is not None
    return supernet


def live(supernet: Supernet, kind: str) -> list[int]:
    return [
        group["units"] for group in supernet.conversion["groups"] if group["live"] and group["kind"] == kind
    ]


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_pytorchs_encoder_has_elastic_heads_width_residual_and_depth(
    norm_first: bool, batch_first: bool
) -> None:
    supernet = agreeing(Encoder(norm_first, batch_first), images(2, 5, 6))
    assert live(supernet, "heads") == [4, 4]
    assert live(supernet, "residual") == [32]
    assert live(supernet, "hidden") == [48, 48]
    assert [stage["blocks"] for stage in supernet.conversion["stages"]] == [
        ["encoder.layers.0", "encoder.layers.1"]
    ]


def test_the_integers_of_a_cut_out_attention_are_those_of_its_weights() -> None:
    supernet = agreeing(Encoder(), images(2, 5, 6))
    space = supernet.space
    values = {choice.name: choice.values[-1] for choice in space.choices}
    fits, narrow = dict(values), dict(values)
    for name in values:
        if name.endswith("heads"):
            fits[name] = narrow[name] = 2
        if name.endswith("residual"):
            fits[name] = 16
    attention = supernet.extract(space.encode(narrow)).encoder.layers[0].self_attn
    assert (type(attention), attention.num_heads, attention.head_dim) == (NarrowAttention, 2, 8)
    assert (attention.embed_dim, attention.in_proj_weight.shape) == (32, (48, 32))
    attention = supernet.extract(space.encode(fits)).encoder.layers[0].self_attn
    assert (type(attention), attention.num_heads, attention.embed_dim) == (nn.MultiheadAttention, 2, 16)


def test_attention_to_another_width_follows_both() -> None:
    supernet = agreeing(Crossing(), images(2, 5, 6))
    assert live(supernet, "heads") == [4]
    assert live(supernet, "residual") == [32]
    assert live(supernet, "hidden") == [24]


def test_torchvisions_vision_transformer_has_elastic_heads_residual_and_depth() -> None:
    vit = VisionTransformer(32, 8, 2, 4, 32, 48, num_classes=5)
    supernet = agreeing(vit, images(2, 3, 32, 32))
    assert live(supernet, "heads") == [4, 4]
    assert live(supernet, "residual") == [32]
    assert [stage["name"] for stage in supernet.conversion["stages"]] == ["encoder.layers"]


def test_heads_of_torchvisions_swin_move_in_proportion_to_its_residuals() -> None:
    swin = SwinTransformer([4, 4], 32, [2, 2], [2, 4], [4, 4], stochastic_depth_prob=0.0, num_classes=5)
    supernet = agreeing(swin, images(1, 3, 64, 64))
    assert live(supernet, "residual") == [2, 4]
    members = {
        tensor for group in supernet.conversion["groups"] if group["live"] for tensor, _ in group["members"]
    }
    assert "features.1.0.attn.qkv.weight" in members


def test_fewer_heads_answer_alike_when_they_are_compiled() -> None:
    narrow, x = with_heads(shuffled(nn.MultiheadAttention(8, 4, batch_first=True)), 2), images(2, 5, 8)
    torch.compiler.reset()
    compiled = torch.compile(narrow, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, x, x), narrow(x, x, x))
