from __future__ import annotations

import copy
import json
import pickle
from random import Random

import pytest
import timm
import torch
from torch import nn

from supernet.elastic.elasticise import elasticise
from supernet.elastic.skeleton import Variant
from supernet.errors import ConversionError, SpaceError
from tests.supernet.elastic.nets import Tokens, images, seeded, small_vit

NETS = {
    "mobilenetv3": (lambda: timm.create_model("mobilenetv3_small_050", num_classes=10), (2, 3, 32, 32)),
    "resnet": (lambda: timm.create_model("resnet10t", num_classes=10), (2, 3, 32, 32)),
    "vit": (small_vit, (2, 3, 32, 32)),
    "tokens": (Tokens, (2, 5, 6)),
}


@pytest.mark.parametrize("name", NETS)
def test_the_largest_is_the_given_network_and_every_subnet_is_its_cut_out_one(name: str) -> None:
    make, shape = NETS[name]
    model = seeded(make)
    x = images(*shape)
    with torch.no_grad():
        given = model(x)
        net = elasticise(copy.deepcopy(model), x[:1])
        assert torch.equal(net(x, net.space.largest()), given)
        rng = Random(0)
        for arch in (net.space.smallest(), *(net.space.sample(rng) for _ in range(3))):
            alone = net.extract(arch)
            assert torch.equal(net(x, arch), alone(x))
            assert not any(isinstance(module, Variant) for module in alone.modules())
            assert torch.equal(pickle.loads(pickle.dumps(alone))(x), alone(x))
    largest = net.extract(net.space.largest())
    assert largest.state_dict().keys() == model.state_dict().keys()


def test_everything_of_a_mobilenet_is_elastic() -> None:
    net = elasticise("mobilenetv3_small_050", (1, 3, 32, 32), num_classes=10)
    record = net.conversion
    assert record is not None
    assert json.loads(json.dumps(record)) == record
    kinds = {group["kind"] for group in record["groups"] if group["live"]}
    assert kinds == {"hidden", "residual", "squeeze", "kernel"}
    assert record["elastic_parameters"] > 0.95 * record["parameters"]
    assert net.space.log10_size > 10
    assert net.origin == {"timm": "mobilenetv3_small_050", "kwargs": {"num_classes": 10}}


def test_the_first_blocks_of_a_stage_are_kept() -> None:
    net = elasticise(seeded(small_vit), (1, 3, 32, 32), dims=("depth",))
    assert net.space["blocks.depth"].values == (1, 2)
    assert len(net.extract(net.space.smallest()).blocks) == 1


def test_learned_kernels_begin_as_the_centre_crop_and_are_no_part_of_a_subnet() -> None:
    model = seeded(NETS["mobilenetv3"][0])
    x = images(2, 3, 32, 32)
    plain = elasticise(copy.deepcopy(model), x[:1], dims=("kernel",))
    learned = elasticise(copy.deepcopy(model), x[:1], dims=("kernel",), kernel_transform=True)
    smallest = plain.space.smallest()
    assert any(name.endswith("transform_5to3") for name, _ in learned.named_parameters())
    with torch.no_grad():
        torch.testing.assert_close(learned(x, smallest), plain(x, smallest))
    alone = learned.extract(smallest)
    assert alone.state_dict().keys() == model.state_dict().keys()
    assert alone.blocks[1][0].conv_dw.kernel_size == (3, 3)


def test_widths_of_a_stage_can_share_one_choice() -> None:
    model = seeded(small_vit)
    net = elasticise(
        model, (1, 3, 32, 32), dims=("hidden", "depth"), tie="stage", choices={"hidden": (0.5, 1.0)}
    )
    assert net.space["blocks.hidden"].values == (0.5, 1.0)
    assert net.extract(net.space.smallest()).blocks[0].mlp.fc1.out_features == 128


def test_sizes_can_be_listed_for_one_layer() -> None:
    net = elasticise(
        seeded(small_vit),
        (1, 3, 32, 32),
        dims=("hidden",),
        choices={"blocks.0.mlp*": (40, 100), "hidden": (0.5,)},
    )
    assert net.space["blocks.0.mlp.fc1.width"].values == (40, 100, 256)
    assert net.space["blocks.1.mlp.fc1.width"].values == (128, 256)


def test_resolutions_are_a_choice_that_cuts_nothing() -> None:
    net = elasticise(seeded(NETS["resnet"][0]), (1, 3, 32, 32), dims=(), resolution=(24, 32))
    assert net.space["resolution"].values == (24, 32)
    assert len(net.space) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"choices": {"blocks.0.mlp*": (40, 300)}},
            r"'blocks.0.mlp.fc1.width' was asked to be 300; .* 1 to 256",
        ),
        ({"choices": {"depth": (0, 1, 2)}}, r"depth of 'blocks' was asked to be 0; it can be 1 to 2"),
        ({"choices": {"heads": (2, 2, 4)}}, "a value twice"),
        ({"choices": {"hidden": (1.0, 0.5)}}, "not sorted"),
        ({"choices": {"hiden": (0.5, 1.0)}}, "'hiden', which is nothing here; did you mean 'hidden'"),
        ({"dims": ("hiddn",)}, "'hiddn' can be elastic; did you mean 'hidden'"),
        ({"tie": "stages"}, "did you mean 'stage'"),
        ({"resolution": (33, 64)}, "does not run at resolution 33"),
        ({"pretrained": True}, "only a timm model by name"),
    ],
)
def test_what_can_not_be_done_is_said(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        elasticise(seeded(small_vit), (1, 3, 32, 32), **options)  # type: ignore[arg-type]


def test_unsorted_resolutions_are_no_choice() -> None:
    with pytest.raises(SpaceError, match="not sorted"):
        elasticise(seeded(NETS["resnet"][0]), (1, 3, 32, 32), dims=(), resolution=(32, 24))


def test_a_misspelt_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConversionError, match="did you mean 'resnet50'"):
        elasticise("resnt50")


def test_a_network_that_does_not_say_its_input_needs_an_example() -> None:
    with pytest.raises(ConversionError, match="does not say what input it takes"):
        elasticise(nn.Linear(3, 4))


def test_the_largest_size_is_whole_where_the_divisor_does_not_divide_it() -> None:
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 27, 3), nn.ReLU(), nn.Conv2d(27, 4, 1)))
    net = elasticise(model, (1, 3, 8, 8))
    assert net.space["0.width"].values == (8, 16, 24, 27)
