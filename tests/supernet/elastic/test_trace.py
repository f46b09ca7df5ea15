from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from supernet.elastic.trace import trace
from supernet.errors import ConversionError
from tests.supernet.elastic.nets import Auxiliary, Between, Tokens, images, seeded, small_vit


def mobile() -> nn.Module:
    return seeded(lambda: timm.create_model("mobilenetv3_small_050", num_classes=10))


def test_all_that_holds_the_width_of_a_block_is_one_group() -> None:
    traced = trace(mobile(), images(1, 3, 32, 32))
    group = traced.group("blocks.1.0.conv_pw.weight")
    assert group.kind == "hidden"
    assert {("blocks.1.0.conv_dw.weight", 0), ("blocks.1.0.bn2.running_var", 0)} <= set(group.members)
    assert ("blocks.1.0.conv_pwl.weight", 1) in group.members


def test_a_squeeze_follows_the_width_it_gates() -> None:
    traced = trace(mobile(), images(1, 3, 32, 32))
    squeeze = traced.group("blocks.2.0.se.conv_reduce.weight")
    assert (squeeze.kind, squeeze.within) == ("squeeze", traced.group("blocks.2.0.conv_pw.weight").name)


def test_heads_are_blocks_of_queries_keys_and_values() -> None:
    traced = trace(seeded(small_vit), images(1, 3, 32, 32))
    heads = traced.group("blocks.0.attn.proj.weight", 1)
    assert (heads.kind, heads.size, heads.channels) == ("heads", 4, 16)
    query_key_value = traced.layouts["blocks.0.attn.qkv.weight"][0]
    assert [len(run) for run in query_key_value] == [3]
    assert query_key_value[0][1] == heads.name


def test_a_class_token_belongs_to_the_stream() -> None:
    traced = trace(seeded(small_vit), images(1, 3, 32, 32))
    residual = traced.group("patch_embed.proj.weight")
    assert residual.kind == "residual"
    assert {("cls_token", 2), ("pos_embed", 2), ("blocks.1.mlp.fc2.weight", 0)} <= set(residual.members)


@pytest.mark.parametrize("make", [mobile, lambda: seeded(small_vit), lambda: seeded(Tokens)])
def test_traced_multiply_adds_are_those_pytorch_counts(make: object) -> None:
    model = make()  # type: ignore[operator]
    x = images(2, 5, 6) if isinstance(model, Tokens) else images(2, 3, 32, 32)
    traced = trace(model, x)
    sizes = {name: group.size for name, group in traced.groups.items()}
    macs = 0
    for op in traced.ops:
        for product in op.macs:
            entries = 1
            for layout in product:
                entries *= layout.length(sizes)
            macs += entries
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    assert macs == counter.get_total_flops() // 2


def test_an_unknown_op_freezes_what_it_reads_and_is_named() -> None:
    model = seeded(lambda: Between(lambda x: torch.fft.fft(x).real))
    group = trace(model, images(2, 6)).group("first.weight")
    assert group.fixed is not None
    assert "fft" in group.fixed


def test_an_example_of_the_wrong_shape_is_named() -> None:
    with pytest.raises(ConversionError, match=r"Between does not run on the example of shape \(2, 7\)"):
        trace(seeded(lambda: Between(torch.relu)), images(2, 7))


def test_a_network_that_asks_its_data_can_not_be_exported() -> None:
    def branch(x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x

    with pytest.raises(ConversionError, match=r"torch\.export does not trace it"):
        trace(seeded(lambda: Between(branch)), images(2, 6))


def test_an_unknown_tensor_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConversionError, match=r"no tensor 'first.weihgt'; did you mean 'first.weight'"):
        trace(seeded(lambda: Between(torch.relu)), images(2, 6)).group("first.weihgt")


def test_what_only_training_runs_is_followed_too() -> None:
    traced = trace(seeded(Auxiliary), images(1, 3, 8, 8))
    stem = traced.group("stem.0.weight")
    assert {("side.0.weight", 1), ("body.0.weight", 1)} <= set(stem.members)
    side = traced.group("side.0.weight")
    assert side.fixed is None
    assert ("second.weight", 1) in side.members
    assert traced.group("second.weight").fixed == "it is the output"
    assert not any("side" in op.module or "second" in op.module for op in traced.ops)


def test_what_nothing_reads_stays_whole() -> None:
    traced = trace(seeded(Auxiliary), images(1, 3, 8, 8))
    assert traced.group("mask_token", 1).fixed == "neither evaluation nor training reads it"


def test_what_training_may_read_stays_whole_where_it_can_not_be_traced() -> None:
    class Random(Auxiliary):
        def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            if self.training and x.sum() > 0:
                return super().forward(2 * x)
            return super().forward(x)

    fixed = trace(seeded(Random), images(1, 3, 8, 8)).group("side.0.weight").fixed
    assert fixed is not None
    assert "training can not be traced" in fixed


def test_what_a_network_caches_while_it_is_traced_does_not_stay_in_it() -> None:
    class Caching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6, 4))
            self.cache: dict[str, Tensor] = {}

        def forward(self, x: Tensor) -> Tensor:
            if "scaled" not in self.cache:
                self.cache["scaled"] = self.weight * 2
            return x @ self.cache["scaled"]

    model = Caching()
    trace(model, images(2, 6))
    assert model.cache == {}
