from __future__ import annotations

from collections.abc import Sequence

import pytest
import timm
import torch
from torch import Tensor, nn

from supernet.elastic import verify as verifying
from supernet.elastic.elasticise import elasticise
from supernet.elastic.trace import Trace, trace
from supernet.elastic.verify import Verification, verify
from tests.supernet.elastic.nets import Between, Tokens, images, seeded


def halves(traced: Trace, live: Sequence[str]) -> list[dict[str, int]]:
    groups = {name: traced.groups[name] for name in live}
    return [{name: 3 if group.kind == "kernel" else group.size // 2 for name, group in groups.items()}]


def verification(model: nn.Module, x: Tensor) -> Verification:
    traced = trace(model, x)
    live = [name for name, group in traced.groups.items() if group.fixed is None]
    return verify(model, traced, x, live, halves)


def test_a_result_that_depends_on_the_width_freezes_it() -> None:
    found = verification(seeded(lambda: Between(lambda x: x / x.shape[-1])), images(2, 6))
    assert "first.width" in found.fixed
    assert "sliced differs from masked" in found.fixed["first.width"]


def test_a_width_written_in_the_code_freezes_it() -> None:
    found = verification(seeded(lambda: Between(lambda x: x.view(2, 12).relu())), images(2, 6))
    assert "the cut network fails" in found.fixed["first.width"]


def test_a_cut_network_that_does_otherwise_is_noticed_though_it_answers_alike() -> None:
    once_or_twice = Between(lambda x: x.relu().relu() if x.shape[-1] > 16 else x.relu(), wide=24)
    found = verification(seeded(lambda: once_or_twice), images(2, 6))
    assert "the network compares sizes" in found.fixed["first.width"]


def test_what_the_answer_does_not_depend_on_is_not_taken_for_verified() -> None:
    found = verification(seeded(lambda: Between(lambda x: x * 0)), images(2, 6))
    assert found.fixed == {"first.width": "cutting it changes nothing that can be seen"}


def test_the_integers_of_attention_are_found() -> None:
    found = verification(seeded(lambda: Tokens(attn_dim=16)), images(2, 5, 6))
    assert not found.fixed
    followed = {(size_attribute.module, size_attribute.attribute) for size_attribute in found.size_attributes}
    places = ("blocks.0", "blocks.1")
    assert followed == {(place, name) for place in places for name in ("num_heads", "attn_dim")}


def test_heads_shaped_like_the_stream_move_in_proportion_to_it() -> None:
    found = verification(seeded(Tokens), images(2, 5, 6))
    assert not found.fixed
    residual = found.trace.group("embed.weight")
    assert (residual.size, residual.channels) == (4, 4)
    assert ("blocks.1.qkv.weight", 0) in residual.members


def test_the_network_itself_is_not_touched() -> None:
    model = seeded(lambda: timm.create_model("mobilenetv3_small_050", num_classes=4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert not verification(model, images(1, 3, 96, 96)).fixed
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert type(model.blocks[0][0].conv_dw) is nn.Conv2d


class Extra(nn.Module):
    """Attention, and beside it a layer whose width is written in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.extra, self.last = Tokens(), nn.Linear(6, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(x) + self.last(self.extra(x).view(2, 5, 12).relu()).mean(1)


def test_groups_that_already_move_with_another_one_are_not_tied_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proposals = [
        ["tokens.embed.residual", "tokens.blocks.0.heads", "tokens.blocks.1.heads"],
        ["extra.width", "tokens.blocks.0.heads"],
    ]
    monkeypatch.setattr(verifying, "_partners", lambda trace, fixed: iter(proposals))
    found = verification(seeded(Extra), images(2, 5, 6))
    assert list(found.fixed) == ["extra.width"]
    assert "tokens.blocks.0.heads" not in found.trace.groups


@pytest.mark.slow
def test_a_network_of_mixed_convolutions_is_converted() -> None:
    supernet = elasticise("mixnet_s", (1, 3, 64, 64))
    assert supernet.conversion["elastic_parameters"] > 0.9 * supernet.conversion["parameters"]
