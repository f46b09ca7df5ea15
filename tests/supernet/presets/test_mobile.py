"""The quickstart's supernet is large enough, exact, and fits small images of any kind."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch
from timm.models.mobilenetv3 import MobileNetV3

from supernet.elastic.supernet import Supernet
from supernet.errors import SpaceError
from supernet.presets.mobile import Mobile


@pytest.mark.parametrize("seed", [0, 1])
def test_the_space_holds_seventeen_million_subnets_whatever_the_weights(seed: int) -> None:
    assert Mobile(seed=seed).space.size == 258**3


@pytest.mark.parametrize(("resolution", "channels", "classes"), [(8, 1, 10), (32, 3, 7)])
def test_a_subnet_inside_equals_the_subnet_cut_out(resolution: int, channels: int, classes: int) -> None:
    preset = Mobile(classes=classes, channels=channels, resolution=resolution)
    supernet = preset.supernet().eval()
    x = torch.randn(2, channels, resolution, resolution, generator=torch.Generator().manual_seed(0))
    rng = Random(0)
    for arch in (preset.space.largest(), preset.space.smallest(), preset.space.sample(rng)):
        subnet = supernet.extract(arch)
        assert type(subnet) is MobileNetV3
        assert torch.equal(supernet(x, arch), subnet(x)) and subnet(x).shape == (2, classes)


@pytest.mark.parametrize("resolution", [8, 12, 16, 24, 28, 32, 64])
def test_about_four_pixels_are_left_at_the_end(resolution: int) -> None:
    features = (
        Mobile(resolution=resolution).network().forward_features(torch.zeros(1, 1, resolution, resolution))
    )
    assert 3 <= features.shape[-1] <= 6


def test_it_is_saved_and_loaded_by_name(tmp_path: Path) -> None:
    supernet = Mobile(resolution=8, channels=3, widths=(8, 16, 24), seed=3).supernet().eval()
    again = Supernet.load(supernet.save(tmp_path))
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    arch = supernet.space.sample(Random(1))
    assert again.plan.to_json() == supernet.plan.to_json()
    assert torch.equal(again(x, arch), supernet(x, arch))
    assert type(again.extract(arch)) is MobileNetV3


def test_the_seed_decides_the_weights_and_leaves_other_randomness_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (Mobile(seed=seed).network().conv_stem.weight for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (16,)}, "widths is"),
        ({"kernels": (3, 4)}, r"kernels is \(3, 4\); only odd"),
        ({"depths": (0, 1)}, r"depths is \(0, 1\).*above zero"),
        ({"expands": ()}, "expands is"),
        ({"kernels": (5, 3)}, "small to large"),
    ],
)
def test_a_list_no_network_has_is_refused(options: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Mobile(**options).space  # noqa: B018
