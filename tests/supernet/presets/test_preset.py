"""What every registered preset must do."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from supernet.calibrate import calibrate
from supernet.elastic.slicing import PRESENT
from supernet.elastic.supernet import Supernet
from supernet.elastic.trace import trace
from supernet.errors import ArchitectureError, ConversionError, SpaceError, SupernetError, WeightsError
from supernet.presets import OFAMobileNetV3, Preset, load_reference, presets
from supernet.presets.attentivenas import STAGES
from supernet.presets.preset import rebuilt

SMALL: dict[str, dict[str, Any]] = {
    "attentivenas": {"resolutions": (32, 40)},
    "bignas": {"resolutions": (32, 40)},
    "darts": {"cells": 3, "width": 4, "nodes": 2},
    "matformer": {"model": "vit_tiny_patch16_224"},
    "nasbench201": {"cells": 1, "widths": (4, 8)},
    "ofa_resnet50d": {"stage_widths": (32, 64, 96, 128)},
}
SMALL |= {
    f"{family}_{size}": {"resolution": 64}
    for family in ("autoformer", "prenas")
    for size in ("tiny", "small", "base")
}
STREAMS = {"widths": ((16, 32), (32, 48)), "strides": (1, 2), "depths": (1, 2)}
SMALL |= {"rev_mobile": STREAMS, "rev_resnet": STREAMS}
TOKENS = {"widths": ((32, 64),), "depths": (1, 2), "resolution": 32, "patch": 8}
SMALL |= {"rev_unet3d": {"widths": ((16, 32), (32,)), "strides": (1, 2), "depths": (1, 2), "resolution": 8}}
SMALL |= {
    "revcol": {"widths": (8, 16), "blocks": (1, 1), "columns": (2, 3)},
    "rev_split": {"width": 48, "depths": (1, 2), "head_counts": (1, 2), "head_dim": 8, "hiddens": (16, 32)}
    | {"resolution": 32, "patch": 8},
}
SMALL |= {"rev_vit": TOKENS | {"head_counts": (1, 2), "head_dim": 8}, "rev_mlp": TOKENS}
SMALL |= {f"vit_resnas_{size}": {"resolution": 56, "widths": (64, 128, 256)} for size in ("tiny", "small")}
PIXELS = {"matformer": 224, "mobile": 16}


@cache
def made(name: str) -> tuple[Preset, Supernet]:
    """A preset of few classes, and its supernet with statistics and affine parameters that show."""
    torch.manual_seed(0)
    preset = presets[name](classes=4, channels=3, **SMALL.get(name, {}))
    supernet = preset.supernet().eval()
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
    return preset, supernet


def images(name: str) -> Tensor:
    pixels = PIXELS.get(name, SMALL.get(name, {}).get("resolution", 32))
    sides = [pixels] * (3 if name.endswith("3d") else 2)
    return torch.randn(2, 3, *sides, generator=torch.Generator().manual_seed(1))


# The wide ones differ from their small siblings in numbers only, and cost seconds to make.
QUICK = [
    name
    for name in presets
    if not name.endswith(("_small", "_base")) and name not in ("bignas", "prenas_tiny")
]


@pytest.mark.parametrize("name", QUICK)
def test_a_subnet_inside_and_cut_out_are_the_same_network(name: str) -> None:
    preset, supernet = made(name)
    x = images(name)
    for arch in (preset.space.smallest(), preset.space.sample(Random(0))):
        subnet = supernet.extract(arch)
        with torch.no_grad():
            assert torch.equal(supernet(x, arch), subnet(x))
        for path, module in subnet.named_modules():
            assert not type(module).__name__.startswith("Elastic"), path
            assert PRESENT not in module._buffers, path
        assert not any("transform" in parameter for parameter, _ in subnet.named_parameters())


@pytest.mark.parametrize("name", QUICK)
def test_every_weight_of_a_cut_out_subnet_learns(name: str) -> None:
    preset, supernet = made(name)
    subnet = supernet.extract(preset.space.sample(Random(1)))
    subnet(images(name)).square().sum().backward()
    idle = [path for path, parameter in subnet.named_parameters() if parameter.grad is None]
    assert not idle


@pytest.mark.parametrize("name", list(presets))
def test_an_architecture_survives_the_words_of_its_reference(name: str) -> None:
    preset = presets[name](**SMALL.get(name, {}))
    for seed in range(20):
        arch = preset.space.sample(Random(seed))
        assert preset.from_reference(preset.to_reference(arch)) == arch


@pytest.mark.parametrize("name", list(presets))
def test_a_dictionary_without_its_keys_is_refused_by_name(name: str) -> None:
    with pytest.raises(ArchitectureError, match=r"missing|has no|no value"):
        presets[name]().from_reference({})


@pytest.mark.parametrize("name", ["autoformer_tiny", "spos", "single_path"])
def test_a_saved_preset_comes_back_by_its_name(name: str, tmp_path: Path) -> None:
    preset, supernet = made(name)
    again = Supernet.load(supernet.save(tmp_path))
    arch, x = preset.space.sample(Random(2)), images(name)
    with torch.no_grad():
        assert torch.equal(again(x, arch), supernet(x, arch))


SHORT: dict[str, dict[str, Any]] = {
    "attentivenas": {"stages": STAGES[:3], "resolutions": (32, 40), "head": (64, 96)},
    "autoformer_tiny": {"resolution": 64, "depths": (2, 3)},
    "darts": {"cells": 3, "width": 2, "nodes": 1},
    "nasbench201": {"cells": 1, "widths": (2, 4)},
    "ofa_mobilenetv3": {"width": 0.5, "depths": (1, 2)},
    "ofa_resnet50d": {"stage_widths": (32, 64, 96, 128)},
    "rev_mobile": {"widths": ((16, 32),), "strides": (2,), "depths": (1, 2)},
    "rev_vit": SMALL["rev_vit"],
    "proxylessnas": {"widths": (24, 40), "cells": (2, 1), "strides": (2, 2)},
    "single_path": {},
    "spos": {"repeats": (1, 2), "widths": (32, 64), "scales": (0.5, 1.0)},
    "vit_resnas_tiny": {"resolution": 56, "widths": (64, 128, 256), "blocks": (2, 2, 2)},
}


@pytest.mark.parametrize("name", list(SHORT))
def test_cost_tables_agree_with_counting_the_cut_out_network(name: str) -> None:
    preset = presets[name](classes=4, **SHORT[name])
    supernet = preset.supernet().eval()
    x = images(name)[:1]
    costs = supernet.costs(tuple(x.shape))
    for arch in (preset.space.smallest(), *(preset.space.sample(Random(seed)) for seed in range(4))):
        subnet = supernet.extract(arch)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            subnet(x)
        counted = (counter.get_total_flops() // 2, sum(p.numel() for p in subnet.parameters()))
        assert (costs.of(arch).macs, costs.of(arch).params) == counted


def test_a_cut_out_choice_block_is_a_plain_sequence_of_one() -> None:
    preset = presets["spos"](classes=4, **SHORT["spos"])
    subnet = preset.supernet().extract(preset.space.sample(Random(0)))
    blocks = subnet.get_submodule("features")
    assert [(type(block), len(block)) for block in blocks.children()] == [(nn.Sequential, 1)] * 3  # type: ignore[arg-type]


def test_batch_norms_that_are_candidates_are_calibrated() -> None:
    preset, supernet = made("mixpath")
    arch, x = preset.space.sample(Random(0)), images("mixpath")
    statistics = calibrate(supernet.subnet(arch), [x])
    with torch.no_grad():
        by_batch, by_statistics = supernet.extract(arch).train()(x), supernet.extract(arch, statistics)(x)
    torch.testing.assert_close(by_statistics, by_batch, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["ofa_proxyless", "spos"])
def test_the_same_seed_makes_the_same_weights_and_leaves_the_rest_of_torch_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    preset = presets[name](classes=4, **SHORT.get(name, {}), seed=3)
    one, two = preset.supernet().state_dict(), preset.supernet().state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", [name for name in QUICK if name != "matformer"])
def test_grey_images_are_an_option(name: str) -> None:
    with torch.device("meta") if name != "mobile" else nullcontext():
        network = presets[name](classes=4, **SMALL.get(name, {}) | {"channels": 1}).network()
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Conv3d))
    assert first.in_channels == 1


def test_an_unknown_preset_is_answered_with_the_nearest() -> None:
    with pytest.raises(SupernetError, match="did you mean 'mixpath'"):
        presets["mixpaht"]


@pytest.fixture(scope="module")
def tiny() -> tuple[OFAMobileNetV3, Supernet, dict[str, Tensor]]:
    """A preset whose "reference" weights are its own, by the reference's names."""
    preset = OFAMobileNetV3(width=0.5, classes=4)
    supernet = preset.supernet()
    ours = supernet.largest.state_dict()
    names = [f"blocks.1.conv.depth_conv.conv.{m}_matrix" for m in ("7to5", "5to3")] + [
        "classifier.linear.bias"
    ]
    return preset, supernet, {name: ours[preset.rename(name) or ""] for name in names}


def test_a_surplus_reference_tensor_is_named(
    tiny: tuple[OFAMobileNetV3, Supernet, dict[str, Tensor]],
) -> None:
    preset, supernet, state = tiny
    with pytest.raises(WeightsError, match=r"'blocks\.77\.conv\.depth_conv\.conv\.weight'"):
        load_reference(preset, supernet, {"blocks.77.conv.depth_conv.conv.weight": torch.zeros(1)} | state)


def test_missing_reference_tensors_are_counted(
    tiny: tuple[OFAMobileNetV3, Supernet, dict[str, Tensor]],
) -> None:
    preset, supernet, state = tiny
    with pytest.raises(WeightsError, match=r"no reference tensor fills 'conv_stem\.weight' \(\d+ of \d+"):
        load_reference(preset, supernet, state)


def test_a_reference_tensor_of_another_shape_names_both(
    tiny: tuple[OFAMobileNetV3, Supernet, dict[str, Tensor]],
) -> None:
    preset, supernet, _ = tiny
    with pytest.raises(WeightsError, match=r"shape \(10,\), 'classifier\.bias' has \(4,\)"):
        load_reference(preset, supernet, {"classifier.linear.bias": torch.zeros(10)})


@pytest.mark.parametrize("name", QUICK)
def test_a_preset_is_made_again_from_what_its_supernet_remembers(name: str) -> None:
    _, supernet = made(name)
    assert supernet.origin is not None
    with torch.device("meta"):
        again = rebuilt(json.loads(json.dumps(supernet.origin)))
    assert {key: value.shape for key, value in again.state_dict().items()} == {
        key: value.shape for key, value in supernet.largest.state_dict().items()
    }
    assert not any(type(module).__name__.startswith("Elastic") for module in again.modules())


# Plans of cells cut no axis.
@pytest.mark.parametrize("name", [name for name in SHORT if name not in ("darts", "nasbench201")])
def test_a_plan_written_by_hand_moves_together_what_the_graph_ties(name: str) -> None:
    preset = presets[name](classes=4, **SHORT[name])
    supernet = preset.supernet()
    network = rebuilt(supernet.origin or {})
    found, plan = trace(network, images(name)[:1]), supernet.plan
    for group in found.groups.values():
        cut = set()
        for tensor, axis in group.members:
            if found.layouts[tensor][axis] == ((group.name,),):
                axes = plan.layouts.get(tensor)
                cut.add(axes[axis] if axes and axis < len(axes) else None)
        assert len(cut) <= 1, (group, cut)


@pytest.mark.parametrize(
    "make",
    [
        lambda: presets["ofa_mobilenetv3"](depths=(0, 2)),
        lambda: presets["autoformer_tiny"](depths=()),
        lambda: presets["ofa_resnet50d"](extra=(-2, 0)),
        lambda: presets["attentivenas"](stages=(replace(STAGES[0], depths=(0, 1)),)),
    ],
)
def test_a_stage_without_blocks_is_refused(make: Callable[[], Preset]) -> None:
    with pytest.raises(SpaceError, match="at least one block"):
        make()


def test_a_width_beyond_the_stored_tensors_names_both() -> None:
    with (
        torch.device("meta"),
        pytest.raises(ConversionError, match=r"'embed' would be 192 to 320 .* 1 to 256"),
    ):
        presets["autoformer_tiny"](embed_dims=(192, 320), resolution=64).supernet()


def test_a_list_that_is_none_is_named() -> None:
    with pytest.raises(ArchitectureError, match=r"'ks' is 7; this space needs a list of 20"):
        OFAMobileNetV3().from_reference({"ks": 7, "e": [6] * 20, "d": [4] * 5})
