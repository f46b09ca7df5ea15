"""Cardinalities and parameter counts as the papers and their code give them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from supernet.presets import (
    AttentiveNAS,
    AutoFormerBase,
    AutoFormerSmall,
    AutoFormerTiny,
    MatFormer,
    MixPath,
    OFAMobileNetV3,
    OFAProxyless,
    OFAResNet50D,
    Preset,
    ProxylessNAS,
    SinglePath,
)
from supernet.presets.spos import SPOS

SIZES: list[tuple[Preset, int]] = [
    (OFAMobileNetV3(), 7371**5),
    (OFAMobileNetV3(width=1.2), 7371**5),
    (OFAProxyless(), 9 * 7371**5),
    (SPOS(), 4**20),
    (ProxylessNAS(), 6**6 * 7**15),
    (SinglePath(), 4**5 * 5**15),
    (MixPath(), (2 * 15) ** 12),
    (MixPath(most=1), (2 * 4) ** 12),
    (MatFormer(), 4**12),
    (AutoFormerTiny(), 3 * (4**12 + 4**13 + 4**14)),
    (AutoFormerSmall(), 3 * (9**12 + 9**13 + 9**14)),
    (AutoFormerBase(), 3 * (6**14 + 6**15 + 6**16)),
]


@pytest.mark.parametrize(("preset", "size"), SIZES, ids=lambda value: type(value).__name__)
def test_a_space_holds_exactly_as_many_networks_as_published(preset: Preset, size: int) -> None:
    assert preset.space.size == size


def test_attentivenas_holds_four_hundred_billion() -> None:
    assert f"{AttentiveNAS().space.size:.3e}" == "4.403e+11"


def test_ofa_resnet_counts_the_two_equal_stems_once() -> None:
    # The published count has three stems, of which two round to the same 24 channels.
    size = OFAResNet50D().space.size
    assert size == 2 * 2 * 3 * 3**4 * (3**2 + 3**3 + 3**4) ** 3 * (3**4 + 3**5 + 3**6)
    assert f"{size * 3 / 2:.3e}" == "2.459e+12"


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def counts(preset: Preset) -> tuple[int, int, int]:
    """Shared parameters, those of the largest and of the smallest subnet."""
    with torch.device("meta"):
        supernet = preset.supernet()
        ends = [supernet.extract(arch) for arch in (preset.space.largest(), preset.space.smallest())]
    return parameters(supernet), parameters(ends[0]), parameters(ends[1])


def test_ofa_mobilenetv3_has_the_published_parameters() -> None:
    assert counts(OFAMobileNetV3()) == (7_678_880, 7_664_760, 3_410_792)


def test_ofa_proxyless_and_resnet_have_the_published_parameters() -> None:
    assert f"{counts(OFAProxyless())[0] / 1e6:.2f}" == "5.12"
    assert f"{counts(OFAResNet50D())[0] / 1e6:.1f}" == "48.1"


AUTOFORMER: list[tuple[AutoFormerTiny, int, int, dict[str, Any]]] = [
    (
        AutoFormerTiny(mlp_ratios=(3.0, 3.5, 4.0)),
        11_669_224,
        5_867_944,
        {
            "layer_num": 13,
            "embed_dim": [192] * 13,
            "num_heads": [3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 3, 3],
            "mlp_ratio": [3.5, 3.5, 3.0, 3.5, 3.0, 3.0, 4.0, 4.0, 3.5, 4.0, 3.5, 4.0, 3.5],
        },
    ),
    (
        AutoFormerSmall(),
        34_790_440,
        22_891_432,
        {
            "layer_num": 13,
            "embed_dim": [384] * 13,
            "num_heads": [6, 6, 5, 7, 5, 5, 5, 6, 6, 7, 7, 6, 7],
            "mlp_ratio": [3.0, 3.5, 3.0, 3.5, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 3.5, 4.0],
        },
    ),
    (
        AutoFormerBase(),
        80_160_360,
        53_691_688,
        {
            "layer_num": 14,
            "embed_dim": [576] * 14,
            "num_heads": [9, 9, 9, 9, 9, 10, 9, 9, 10, 9, 10, 9, 9, 10],
            "mlp_ratio": [3.5, 3.5, 4.0, 3.5, 4.0, 3.5, 3.5, 3.0, 4.0, 4.0, 3.0, 4.0, 3.0, 3.5],
        },
    ),
]


@pytest.mark.parametrize(("preset", "shared", "published", "config"), AUTOFORMER, ids=["T", "S", "B"])
def test_autoformer_and_its_published_subnet_have_the_published_parameters(
    preset: AutoFormerTiny, shared: int, published: int, config: dict[str, Any]
) -> None:
    with torch.device("meta"):
        supernet = preset.supernet()
        subnet = supernet.extract(preset.from_reference(config))
    assert (parameters(supernet), parameters(subnet)) == (shared, published)


def test_the_published_autoformer_tiny_lies_outside_its_own_space() -> None:
    _, _, _, config = AUTOFORMER[0]
    with pytest.raises(ValueError, match=r"'blocks\.2\.mlp_ratio' was asked to be 3\.0"):
        AutoFormerTiny().from_reference(config)
