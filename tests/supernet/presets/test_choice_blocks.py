"""MixPath, Single-Path and SPOS as their references sample, pad, initialise and read them."""

from __future__ import annotations

from collections import Counter
from math import sqrt
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.errors import ArchitectureError, SpaceError
from supernet.presets import SPOS, MatFormer, MixPath, OFAMobileNetV3, OFAProxyless, ProxylessNAS, SinglePath

BLOCK = {"conv": [0], "rate": 0}


def mixed(block: dict[str, Any], at: Any = 5) -> dict[Any, Any]:
    return dict.fromkeys(range(12), BLOCK) | {at: block}


@pytest.mark.parametrize("most", [2, 4])
def test_mixpath_draws_how_many_paths_before_which(most: int) -> None:
    preset, rng = MixPath(most=most), Random(0)
    drawn = [preset.to_reference(preset.space.sample(rng))[i]["conv"] for _ in range(400) for i in range(12)]
    counts = Counter(map(len, drawn))
    assert set(counts) == set(range(1, most + 1))
    # 4,800 draws: a share is off by more than .03 less than once in 10^5 runs.
    assert all(abs(n / len(drawn) - 1 / most) < 0.03 for n in counts.values())
    pairs = Counter(tuple(sorted(conv)) for conv in drawn if len(conv) == 2)
    assert len(pairs) == 6
    assert all(abs(n / counts[2] - 1 / 6) < 0.06 for n in pairs.values())


def test_a_mixpath_block_sums_its_paths_and_ends_in_the_norm_for_their_number() -> None:
    preset = MixPath(classes=4)
    supernet = preset.supernet().eval()
    for i, module in enumerate(m for m in supernet.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.constant_(module.bias, 0.01 * (i % 7 - 3))
        nn.init.constant_(module.running_var, 1 + 0.1 * (i % 5))
    expand, paths, project, norms = supernet.largest.get_submodule("blocks.2.rates.1").children()
    x = torch.randn(2, 48, 8, 8, generator=torch.Generator().manual_seed(0))
    for positions in ([1], [3, 0], [0, 1, 2], [0, 1, 2, 3]):
        arch = preset.from_reference(mixed({"conv": positions, "rate": 1}, at=2))
        subnet = supernet.extract(arch)
        with torch.no_grad():
            wide = expand(x)
            total = torch.stack([paths.get_submodule(str(k))(wide) for k in positions]).sum(0)
            by_hand = norms.get_submodule(str(len(positions) - 1))(project(total))
            torch.testing.assert_close(subnet.get_submodule("blocks.2")(x), by_hand)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (mixed({"conv": [1, 1], "rate": 0}), r"block 5 is .*\[1, 1\].* 1 to 4 different positions"),
        (mixed({"conv": [-1], "rate": 0}), r"block 5 is .*\[-1\].* each 0 to 3"),
        (mixed({"conv": [4], "rate": 0}), r"block 5 is .*\[4\].* each 0 to 3"),
        (mixed({"conv": [0], "rate": -1}), r"'rate' be 0 to 1"),
        (mixed({"conv": [], "rate": 0}), r"1 to 4 different positions"),
        (mixed({"conv": [0]}), r"has no 'rate'"),
        (mixed(BLOCK, at=12), r"no block 12; the space has 12, counted from 0"),
        ({0: BLOCK}, r"block 1 is missing"),
    ],
)
def test_a_mixpath_dictionary_of_another_network_is_refused(config: Any, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        MixPath().from_reference(config)


def test_more_paths_than_may_be_active_are_refused() -> None:
    with pytest.raises(ArchitectureError, match=r"'conv' can hold 1 to 2"):
        MixPath(most=2).from_reference(mixed({"conv": [0, 1, 2], "rate": 0}))
    with pytest.raises(SpaceError, match="most is 5; of these kernels 1 to 4"):
        MixPath(most=5)


def test_mixpath_takes_paths_in_any_order_and_blocks_by_the_names_of_json() -> None:
    preset = MixPath()
    one = preset.from_reference(mixed({"conv": [3, 0], "rate": 1}))
    assert one == preset.from_reference(
        {str(i): block for i, block in mixed({"conv": [0, 3], "rate": 1}).items()}
    )


def same(x: Tensor, kernel: int, low: int, high: int, weight: Tensor, groups: int) -> Tensor:
    assert weight.shape[-1] == kernel
    return F.conv2d(F.pad(x, (low, high, low, high)), weight, stride=2, groups=groups)


# Side of the image, kernel of the depth-wise convolutions, and the zeros before and after that TensorFlow's
# documentation gives: (ceil(side / 2) - 1) * 2 + kernel - side in all, the odd one behind.
PADDING = [(64, 3, (0, 1)), (64, 5, (1, 2)), (224, 5, (1, 2))]


@pytest.mark.parametrize(("side", "kernel", "around"), PADDING)
def test_single_path_pads_like_tensorflow_wherever_it_strides(
    side: int, kernel: int, around: tuple[int, int]
) -> None:
    preset = SinglePath(classes=4)
    supernet = preset.supernet().eval()
    arch = preset.from_reference({"blocks": [f"{kernel}x{kernel}-3"] * 20})
    seen: list[str] = []

    def check(name: str, module: nn.Conv2d, x: Tensor, out: Tensor) -> None:
        size, (low, high) = module.weight.shape[-1], around if name != "conv_stem" else (0, 1)
        torch.testing.assert_close(out, same(x, size, low, high, module.weight, module.groups))
        seen.append(name)

    subnet = supernet.extract(arch)
    for name, module in subnet.named_modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.register_forward_hook(lambda m, args, out, n=name: check(n, m, args[0], out))
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(subnet(x), supernet(x, arch))
    assert seen == ["conv_stem", *(f"blocks.{i}.0.conv_dw" for i in (1, 2, 3, 5))]


def test_single_path_pads_an_odd_image_on_both_sides() -> None:
    preset = SinglePath(classes=4)
    supernet = preset.supernet().eval()
    subnet = supernet.extract(preset.space.largest())
    stem = subnet.get_submodule("conv_stem")
    x = torch.randn(1, 3, 33, 33, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(stem(x), same(x, 3, 1, 1, stem.weight, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("preset", "fan"),
    [
        (MixPath(classes=25), 25),
        (SinglePath(classes=25), 25),
        (OFAMobileNetV3(classes=25), 1280),
        (OFAProxyless(classes=25), 1280),
        (ProxylessNAS(classes=25), 1280),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_classifier_starts_uniform_within_the_bound_of_its_reference(preset: Any, fan: int) -> None:
    network = preset.network()
    weight = network.get_parameter("classifier.weight").detach()
    bound = 1 / sqrt(fan)
    assert 0.99 * bound < weight.abs().max() <= bound
    assert float(weight.std()) == pytest.approx(bound / sqrt(3), rel=0.03)
    assert not network.get_parameter("classifier.bias").any()


def test_single_path_starts_depthwise_kernels_by_their_own_fan_out() -> None:
    torch.manual_seed(0)
    network = SinglePath(classes=4).network()
    weight = network.get_parameter("blocks.5.3.conv_dw.weight")
    assert float(weight.detach().std()) == pytest.approx(sqrt(2 / 25), rel=0.03)


SKIPPED = ["3x3-6"] * 20


@pytest.mark.parametrize(
    "block", ["3x5-6", "33-6", "3x3-", "3x3", "3-6", "x3-6", "3x3-6-3", "3x3-66", "7x7-3"]
)
def test_a_single_path_block_of_another_form_is_refused(block: str) -> None:
    with pytest.raises(ArchitectureError, match="was asked to be"):
        SinglePath().from_reference({"blocks": [*SKIPPED[:5], block, *SKIPPED[6:]]})


def test_single_path_reads_every_block_as_it_is_written() -> None:
    """The reference's decoder reads 3x3-6 as ratio 3 and 5x5-3 as ratio 6, which is a fault of its own."""
    preset = SinglePath()
    written = ["3x3-3", "3x3-6", "5x5-3", "5x5-6"] * 5
    values = preset.space.decode(preset.from_reference({"blocks": written}))
    for (path, _), block in zip(preset._blocks(), written):
        assert f"{values[f'{path}.kernel']}x{values[f'{path}.kernel']}-{values[f'{path}.expand']}" == block


@pytest.mark.parametrize("position", [0, 4, 16])
def test_the_first_single_path_block_of_a_stage_can_not_be_skipped(position: int) -> None:
    blocks = list(SKIPPED)
    blocks[position] = "skip"
    with pytest.raises(ArchitectureError, match="can not be left out"):
        SinglePath().from_reference({"blocks": blocks})


ONE_TOO_MANY: list[tuple[Any, dict[str, Any], str]] = [
    (SPOS(), {"arch": [0] * 21}, r"'arch' holds 21 values; this space needs 20"),
    (SPOS(scales=(0.5, 1.0)), {"arch": [0] * 20, "scales": [1.0] * 21}, r"'scales' holds 21"),
    (SinglePath(), {"blocks": ["3x3-3"] * 21}, r"'blocks' holds 21 values; this space needs 20"),
    (ProxylessNAS(), {"ops": ["3x3_MBConv3"] * 22}, r"'ops' holds 22 values; this space needs 21"),
    (MatFormer(), {"granularities": [1.0] * 13}, r"'granularities' holds 13"),
    (OFAMobileNetV3(), {"ks": [3] * 21, "e": [3] * 20, "d": [2] * 5}, r"'ks' holds 21"),
    (OFAMobileNetV3(), {"ks": [3] * 20, "e": [3] * 20, "d": [2] * 6}, r"'d' holds 6 values; .* needs 5"),
]


@pytest.mark.parametrize(("preset", "config", "message"), ONE_TOO_MANY)
def test_a_list_that_is_longer_than_the_space_is_refused(
    preset: Any, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArchitectureError, match=message):
        preset.from_reference(config)


def test_a_depth_that_the_reference_pads_may_be_left_out() -> None:
    preset = OFAProxyless()
    config = {"ks": [3] * 21, "e": [3] * 21}
    assert preset.from_reference(config | {"d": [2] * 5}) == preset.from_reference(config | {"d": [2] * 6})
